// SPDX-License-Identifier: Apache-2.0
// What fallbackd changes in the container runtime: containers and images of its own, nothing else. An
// interface, so that its users can be tested with fakes. Every call has a time limit and can be cancelled;
// what was asked for may happen all the same.
#pragma once

#include "base/error.hpp"
#include "cri/blob.hpp"
#include "cri/runtime.hpp"
#include "cri/types.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace fallbackd::cri {

/// A container to be created in a sandbox. It gets no capabilities, no mounts and a read-only root.
struct ContainerOrder {
  std::string name;
  std::uint32_t attempt = 0;
  std::string image;                 // a name that CRI knows
  std::vector<std::string> command;  // empty: the image's
  std::map<std::string, std::string> env;
  std::string logPath;  // below the sandbox's log directory
  uid_t user = 0;
  gid_t group = 0;
  Labels labels;
  Labels annotations;
};

enum class Cleanup : std::uint8_t { later, now };

class Control {
 public:
  virtual ~Control() = default;

  /// Returns its id. Reason already_exists or protocol where name and attempt are taken.
  virtual Awaitable<Result<std::string>> createContainer(SandboxStatus sandbox, ContainerOrder order) = 0;
  virtual Awaitable<Result<>> startContainer(std::string id) = 0;
  /// The process of a container that runs, as the node numbers it; 0 if it does not run. Reason not_found.
  virtual Awaitable<Result<pid_t>> containerPid(std::string id) = 0;
  /// A container that has ended or is not known is not an error. Takes up to `grace` and a little more.
  virtual Awaitable<Result<>> stopContainer(std::string id, std::chrono::seconds grace) = 0;
  /// One that is not known is not an error.
  virtual Awaitable<Result<>> removeContainer(std::string id) = 0;

  /// What a runtime tells containerd when the kernel kills a container's process for memory: CRI gives it as
  /// the reason of its end ("OOMKilled").
  virtual Awaitable<Result<>> tellOutOfMemory(std::string id) = 0;

  /// Stores an image: its blobs, the manifest last, and its name. What is there already is left as it is.
  virtual Awaitable<Result<>> createImage(std::string name, std::vector<Blob> blobs, Labels labels) = 0;
  /// Removes this name alone; other names of the image and containers that run it stay. What nothing needs
  /// any more goes with the runtime's next cleanup, or with one that has ended when this returns.
  virtual Awaitable<Result<>> deleteImage(std::string name, Cleanup cleanup) = 0;
  /// Of the manifest that a name stands for; empty if there is no such name.
  virtual Awaitable<Result<std::string>> imageDigest(std::string name) = 0;
  /// Names of the images with this label.
  virtual Awaitable<Result<std::vector<std::string>>> imagesWithLabel(std::string key) = 0;
};

}  // namespace fallbackd::cri
