// SPDX-License-Identifier: Apache-2.0
// The container runtime as the rest of the daemon sees it. An interface, so that watcher and recovery can be
// tested with fakes. The implementation limits every call in time; every call can be cancelled.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "cri/types.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::cri {

template <class T>
using Awaitable = boost::asio::awaitable<T>;

struct RuntimeVersion {
  std::string name;     // "containerd"
  std::string version;  // "1.6.20~ds1"
};

/// How a PullImage ended. The cause is found from the text, because the codes do not distinguish causes.
struct PullOutcome {
  enum class Kind : std::uint8_t { pulled, failed, cancelled };
  Kind kind = Kind::failed;
  int grpcCode = 0;
  std::string text;
};

/// How long to wait before asking CRI for a sandbox again: an eighth of the time since `since`, between
/// `shortest` and 100 ms. containerd stores a sandbox for CRI only after its process started, so `since` is
/// moved to that start once it is known.
inline std::chrono::nanoseconds pauseBeforeAskingAgain(Stamp since, Stamp now,
                                                       std::chrono::nanoseconds shortest) {
  constexpr std::chrono::nanoseconds kLongest = std::chrono::milliseconds(100);
  const std::chrono::nanoseconds waited = now - since;
  return std::clamp(waited / 8, shortest, kLongest);
}

class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual Awaitable<Result<RuntimeVersion>> version() = 0;
  virtual Awaitable<Result<std::vector<Sandbox>>> listSandboxes() = 0;
  virtual Awaitable<Result<std::vector<Container>>> listContainers() = 0;
  /// Reason not_found while the runtime does not know the sandbox (yet), sandbox_gone if its pause process
  /// does not run.
  virtual Awaitable<Result<SandboxStatus>> sandboxStatus(std::string sandboxId) = 0;
  virtual Awaitable<Result<bool>> imagePresent(std::string reference) = 0;
  /// The tagged references of the image with this id; empty if it has none.
  virtual Awaitable<Result<std::vector<std::string>>> imageTags(std::string imageId) = 0;
  /// The same, plus references with a digest; empty if the image is not here.
  virtual Awaitable<Result<std::vector<std::string>>> imageReferences(std::string imageId) = 0;
  /// Has no time limit: a slow pull is not a failure. Cancelling it cancels the pull.
  virtual Awaitable<PullOutcome> pull(std::string reference, std::optional<Credentials> credentials) = 0;
  /// A container or sandbox from containerd's own store, which knows it before CRI does. For a sandbox only
  /// labels and id are filled; for a container that CRI did not create, no annotations. Reason not_found.
  virtual Awaitable<Result<Container>> storedContainer(std::string id) = 0;
  /// Ids of everything in that store, containers and sandboxes.
  virtual Awaitable<Result<std::vector<std::string>>> storedIds() = 0;
  /// How a container ended; empty while it has not. Reason not_found if CRI does not know it.
  virtual Awaitable<Result<std::optional<int>>> exitCode(std::string containerId) = 0;
  /// The image of the pause container in containerd's configuration; empty if containerd does not report it
  /// (2.x).
  virtual Awaitable<Result<std::string>> sandboxImage() = 0;
  /// Stored content that came from this registry host (a name without a port), of any image.
  virtual Awaitable<Result<std::vector<Content>>> contentsFrom(std::string host) = 0;
  /// Downloads that are running now, of any image.
  virtual Awaitable<Result<std::vector<Ingest>>> ingests() = 0;
};

/// An event of containerd that matters to us.
struct Event {
  enum class Kind : std::uint8_t {
    task_started,
    task_exited,
    container_created,
    container_deleted,
    image_arrived
  };
  Kind kind;
  std::string id;    // container id, or image reference
  Stamp at;          // when it happened, according to containerd
  int exitCode = 0;  // of task_exited
};

/// One subscription. next() fails when the stream breaks; the owner then subscribes again and resyncs.
class EventStream {
 public:
  virtual ~EventStream() = default;
  virtual Awaitable<Result<Event>> next() = 0;
};

class EventSource {
 public:
  virtual ~EventSource() = default;
  /// Returns once containerd has accepted the subscription, so that a list read afterwards misses nothing.
  virtual Awaitable<Result<std::unique_ptr<EventStream>>> subscribe() = 0;
};

}  // namespace fallbackd::cri
