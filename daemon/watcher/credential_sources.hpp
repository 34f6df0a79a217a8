// SPDX-License-Identifier: Apache-2.0
// Where a probe pull's credentials come from: a dockerconfigjson first, then kubelet's credential providers.
// One io_context thread.
#pragma once

#include "watcher/credential_providers.hpp"

#include <optional>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

class CredentialSources {
 public:
  explicit CredentialSources(boost::asio::any_io_executor executor) : providers_(std::move(executor)) {}

  /// How files are read; reading may hang. By default it is done on the loop.
  void readFilesWith(FileReader reader);
  /// Before this is called, the providers' programs cannot be run.
  void runProgramsWith(ProgramRunner runner) { providers_.runProgramsWith(std::move(runner)); }

  /// What is read or asked is used for this pull only, so that a rotated secret takes effect at once. `file`
  /// may be empty, `providers` absent.
  cri::Awaitable<FoundCredentials> find(std::string file,
                                        std::optional<config::CredentialProviders> providers,
                                        ImageReference reference);

  [[nodiscard]] const ProviderCounts& counts() const { return providers_.counts(); }

 private:
  cri::Awaitable<FoundCredentials> fromFile(std::string file, ImageReference reference);

  FileReader reader_;
  CredentialProviders providers_;
};

}  // namespace fallbackd::watcher
