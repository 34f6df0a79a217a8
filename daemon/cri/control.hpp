// SPDX-License-Identifier: Apache-2.0
// What fallbackd changes in the container runtime: its own containers and images, nothing else. An interface,
// so that its users can be tested with fakes. Every call has a time limit and can be cancelled; the requested
// change may happen nevertheless.
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

  /// Returns its id. Reason already_exists or protocol if name and attempt are taken.
  virtual Awaitable<Result<std::string>> createContainer(SandboxStatus sandbox, ContainerOrder order) = 0;
  virtual Awaitable<Result<>> startContainer(std::string id) = 0;
  /// The PID, on the node, of a running container's process; 0 if it does not run. Reason not_found.
  virtual Awaitable<Result<pid_t>> containerPid(std::string id) = 0;
  /// A container that has ended or is not known is not an error. Takes up to `grace` and a little more.
  virtual Awaitable<Result<>> stopContainer(std::string id, std::chrono::seconds grace) = 0;
  /// An unknown container is not an error.
  virtual Awaitable<Result<>> removeContainer(std::string id) = 0;

  /// Sends the event that a runtime sends when the kernel kills a container's process for lack of memory: CRI
  /// reports it as the reason of the exit ("OOMKilled").
  virtual Awaitable<Result<>> tellOutOfMemory(std::string id) = 0;

  /// Stores an image: its blobs, the manifest last, and its name. Leaves alone what already exists.
  virtual Awaitable<Result<>> createImage(std::string name, std::vector<Blob> blobs, Labels labels) = 0;
  /// Removes only this name; other names of the image and containers that run it stay. The runtime's next
  /// cleanup removes what nothing needs any more; with Cleanup::now it has ended when this returns.
  virtual Awaitable<Result<>> deleteImage(std::string name, Cleanup cleanup) = 0;
  /// The digest of the manifest that a name stands for; empty if there is no such name.
  virtual Awaitable<Result<std::string>> imageDigest(std::string name) = 0;
  /// Names of the images with this label.
  virtual Awaitable<Result<std::vector<std::string>>> imagesWithLabel(std::string key) = 0;
};

}  // namespace fallbackd::cri
