// SPDX-License-Identifier: Apache-2.0
// Stand-ins in containerd. What there is of them is asked of containerd each time: their labels are the
// journal, written by the same call that creates them. On the daemon's loop.
#pragma once

#include "base/async/event.hpp"
#include "cri/control.hpp"
#include "cri/runtime.hpp"
#include "standin/stand_ins.hpp"
#include "sys/log_links.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/thread_pool.hpp>

namespace fallbackd::standin {

class ContainerdStandIns final : public StandIns {
 public:
  /// `runDir`: only stand-ins of a daemon with the same one are touched.
  ContainerdStandIns(cri::Runtime& runtime, cri::Control& control, std::string runDir, sys::LogLinks links)
      : runtime_(runtime), control_(control), runDir_(std::move(runDir)), links_(std::move(links)) {}

  /// Told what does not keep a stand-in from being one.
  void onTrouble(std::function<void(const Error&)> listener) { trouble_ = std::move(listener); }

  boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> make(Request request) override;
  boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> find(std::string recoveryId) override;
  boost::asio::awaitable<Result<>> removeAll(std::string sandboxId, std::string container,
                                             Fallback fallback) override;
  boost::asio::awaitable<Result<std::size_t>> removeOthers(
      std::function<bool(const std::string& recoveryId)> isKept) override;
  /// All of them, while the fallbacks go on, again and again until none is listed. Gives their number; an
  /// error: not within `limit`.
  boost::asio::awaitable<Result<std::size_t>> removeEvery(std::chrono::nanoseconds limit);

 private:
  cri::Awaitable<Result<std::vector<cri::Container>>> mine();
  cri::Awaitable<Result<std::vector<cri::Container>>> containersOf(const Request& request);
  cri::Awaitable<Result<>> removeThose(std::function<bool(const std::string& recoveryId)> isKept,
                                       Fallback fallback, std::size_t& count);
  /// Gives the id of the image: the digest of its configuration.
  cri::Awaitable<Result<std::string>> ensureImage(const Request& request);
  cri::Awaitable<Result<std::string>> writeImage(std::string name, const Request& request);
  cri::Awaitable<Result<>> checkImage(std::string containerId, std::string imageId);
  cri::Awaitable<Result<std::optional<cri::Blob>>> executableLayer(const Request& request);
  enum class Image : std::uint8_t { there, gone };
  cri::Awaitable<Result<>> awaitImage(std::string name, Image wanted);
  cri::Awaitable<Result<>> checkSucceeded(const std::string& name, const std::vector<cri::Container>& there);
  cri::Awaitable<Result<>> makeRoom(const Request& request, const std::vector<cri::Container>& ofPod);
  cri::Awaitable<Result<std::unique_ptr<StandIn>>> start(std::string id, Times times);
  cri::Awaitable<Result<std::unique_ptr<StandIn>>> take(std::string id, Times times);
  cri::Awaitable<Result<>> remove(cri::Container standIn, Fallback fallback);
  cri::Awaitable<Result<>> removeById(std::string id);
  void link(const Request& request, const std::string& id);
  void unlink(const Request& request, const std::string& id) const;
  void linkFallback(sys::LogOwner owner) const;
  void unlinkFallback(const Request& request, const std::string& id) const;
  cri::Awaitable<void> removeUnusedImages();

  cri::Runtime& runtime_;
  cri::Control& control_;
  std::string runDir_;
  sys::LogLinks links_;
  std::function<void(const Error&)> trouble_;
  std::size_t making_ = 0;                                 // images may be about to be used
  std::map<std::string, std::shared_ptr<Event>> writing_;  // images, by name; set when it ends
  std::map<std::string, std::string> digests_;    // of layers with an executable, by the image's name
  std::optional<boost::asio::thread_pool> pool_;  // they are as large as the binaries
};

}  // namespace fallbackd::standin
