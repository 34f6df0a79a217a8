// SPDX-License-Identifier: Apache-2.0
// The CRI as the model's parts see it: plain structs, blocking calls from any thread.
#pragma once

#include "containerd_node.hpp"
#include "kubelet/kubelet.hpp"

#include <cstdint>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

struct SeenSandbox {
  std::string id;
  std::string uid;
  std::uint32_t attempt = 0;
  bool ready = false;
  std::int64_t createdAt = 0;  // nanoseconds since 1970, like all times of the CRI
};

enum class RunState : std::uint8_t { created, running, exited, unknown };

struct SeenContainer {
  std::string id;
  std::string sandboxId;
  RunState state = RunState::unknown;
  std::int64_t createdAt = 0;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  // From ContainerStatus alone:
  std::int64_t startedAt = 0;
  std::int64_t finishedAt = 0;
  int exitCode = 0;
  std::string reason;  // "Completed", "Error", "OOMKilled"
  std::string image;   // the name that the runtime shows
  std::string imageRef;
  std::filesystem::path logPath;

  [[nodiscard]] std::string label(const std::string& name) const;
  [[nodiscard]] std::string annotation(const std::string& name) const;
  [[nodiscard]] std::string uid() const { return label("io.kubernetes.pod.uid"); }
  [[nodiscard]] std::string name() const { return label("io.kubernetes.container.name"); }
  [[nodiscard]] int restartCount() const;
};

struct ExecOutcome {
  int code = 0;
  std::string output;
};

struct SeenImage {
  std::string id;
  std::vector<std::string> names;
};

class Runtime {
 public:
  explicit Runtime(const ContainerdNode& node) : node_(node) {}

  [[nodiscard]] Result<std::vector<SeenSandbox>> sandboxes() const;
  [[nodiscard]] Result<std::vector<SeenContainer>> containers() const;
  [[nodiscard]] Result<SeenContainer> status(const std::string& id) const;
  [[nodiscard]] Result<> stopSandbox(const std::string& id) const;
  /// `stop` ends it, as kubelet ends the pull of a deleted pod.
  [[nodiscard]] PullOutcome pull(const std::string& image, const std::stop_token& stop) const;
  /// An error: the command could not run at all.
  [[nodiscard]] Result<ExecOutcome> exec(const std::string& id, const std::vector<std::string>& command,
                                         std::chrono::milliseconds timeout) const;
  [[nodiscard]] Result<> setResources(const std::string& id, const ContainerSpec& spec) const;
  [[nodiscard]] Result<> reopenLog(const std::string& id) const;
  [[nodiscard]] Result<std::vector<SeenImage>> images() const;

 private:
  const ContainerdNode& node_;
};

}  // namespace fallbackd::e2e::model
