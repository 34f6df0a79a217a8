// SPDX-License-Identifier: Apache-2.0
// A containerd that runs nothing: sandboxes come and go without processes, pulls end as a function decides.
// For more pods than a real node can run. On a unix socket it serves the parts of CRI and of containerd's own
// services that fallbackd uses.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <grpcpp/support/status.h>

namespace fallbackd::e2e {

struct FakePod {
  std::string id;
  std::string name;
  std::string namespaceName;
  std::string uid;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::string ip;
  std::string info;  // the JSON of a verbose PodSandboxStatus: pid, config, runtimeSpec
};

/// How a pull ends.
struct FakePull {
  enum class End : std::uint8_t { at_once, when_cancelled };
  End end = End::at_once;
  grpc::Status status;
};

/// Thread-safe. No image is ever present.
class FakeCri {
 public:
  /// Called on gRPC's threads.
  using Puller = std::function<FakePull(const std::string& reference)>;

  static Result<std::unique_ptr<FakeCri>> start(const std::filesystem::path& socket, Puller puller);
  FakeCri(const FakeCri&) = delete;
  FakeCri& operator=(const FakeCri&) = delete;
  ~FakeCri();

  /// From now on CRI lists it; subscribers receive its creation and the start of its pause process.
  void add(FakePod pod);
  /// Its pause process has ended and the sandbox is removed.
  void remove(const std::string& id);

  struct Counts {
    std::uint64_t calls = 0;
    std::uint64_t pulls = 0;
    std::uint64_t pullsAtOnce = 0;  // the highest number that ran at the same time
  };
  [[nodiscard]] Counts counts() const;

 private:
  struct Server;
  FakeCri();
  std::unique_ptr<Server> server_;
};

}  // namespace fallbackd::e2e
