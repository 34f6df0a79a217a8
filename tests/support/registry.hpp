// SPDX-License-Identifier: Apache-2.0
// A real docker-registry on 127.0.0.1, plain HTTP, that can stop and return at the same address.
#pragma once

#include "base/error.hpp"
#include "process.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

struct RegistryOptions {
  std::uint16_t port = 0;  // 0: any free one, the same for every start of this object
  /// If set: basic authentication, so that requests without it get a real 401.
  std::optional<std::string> user;
  std::string password;
};

/// Used by one thread. Images stay in the run's folder as long as the object exists.
class Registry {
 public:
  /// Prepared but not running: until start() its address refuses connections.
  static Result<Registry> make(RegistryOptions options = {});

  Result<> start();
  /// Afterwards the address refuses connections again.
  Result<> stop();

  [[nodiscard]] std::uint16_t port() const { return options_.port; }
  /// "127.0.0.1:PORT", the host part of an image reference.
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(options_.port); }
  /// "127.0.0.1:PORT/NAME:TAG"
  [[nodiscard]] std::string reference(const std::string& nameAndTag) const {
    return address() + "/" + nameAndTag;
  }

  /// Builds an image of one static binary (as /bin/NAME) with the binary and `args` as its entrypoint, and
  /// pushes it with skopeo. The registry must run. Returns the full reference.
  Result<std::string> pushImage(const std::string& nameAndTag, const std::filesystem::path& program,
                                const std::vector<std::string>& args = {});

 private:
  Registry() = default;
  Result<> writeConfig();

  RegistryOptions options_;
  std::filesystem::path folder_;
  std::optional<ChildProcess> process_;
};

}  // namespace fallbackd::e2e
