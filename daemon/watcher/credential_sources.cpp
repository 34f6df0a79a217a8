// SPDX-License-Identifier: Apache-2.0
#include "watcher/credential_sources.hpp"

#include "watcher/credentials.hpp"

namespace fallbackd::watcher {

void CredentialSources::readFilesWith(FileReader reader) {
  reader_ = reader;
  providers_.readFilesWith(std::move(reader));
}

cri::Awaitable<FoundCredentials> CredentialSources::fromFile(std::string file, ImageReference reference) {
  FoundCredentials found;
  if (file.empty()) co_return found;
  auto read = Result<std::optional<cri::Credentials>>(std::nullopt);
  if (!reader_) {
    read = readCredentials(file, reference);
  } else if (const auto text = co_await reader_(file)) {
    read = parseCredentials(*text, reference, file);
  } else {
    read = tl::unexpected<Error>(text.error());
  }
  if (read) {
    found.credentials = std::move(*read);
  } else {
    found.trouble = read.error().message();
  }
  co_return found;
}

cri::Awaitable<FoundCredentials> CredentialSources::find(std::string file,
                                                         std::optional<config::CredentialProviders> providers,
                                                         ImageReference reference) {
  auto found = co_await fromFile(std::move(file), reference);
  if (found.credentials || !providers) co_return found;
  auto given = co_await providers_.find(std::move(*providers), std::move(reference));
  found.credentials = std::move(given.credentials);
  if (!found.trouble.empty() && !given.trouble.empty()) found.trouble += "; ";
  found.trouble += given.trouble;
  co_return found;
}

}  // namespace fallbackd::watcher
