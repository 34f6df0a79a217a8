// SPDX-License-Identifier: Apache-2.0
// Stand-ins in containerd. containerd is asked for them each time: their labels are the journal, written by
// the same call that creates them. On the daemon's loop.
#pragma once

#include "cri/control.hpp"
#include "cri/runtime.hpp"
#include "standin/images.hpp"
#include "standin/stand_ins.hpp"
#include "sys/log_links.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::standin {

class ContainerdStandIns final : public StandIns {
 public:
  /// `runDir`: only stand-ins of a daemon with the same one are touched.
  ContainerdStandIns(cri::Runtime& runtime, cri::Control& control, std::string runDir, sys::LogLinks links)
      : runtime_(runtime),
        control_(control),
        runDir_(std::move(runDir)),
        links_(std::move(links)),
        images_(runtime, control) {}

  /// Receives errors that do not prevent a stand-in.
  void onTrouble(std::function<void(const Error&)> listener) { trouble_ = std::move(listener); }

  boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> make(Request request) override;
  boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> find(std::string recoveryId) override;
  boost::asio::awaitable<Result<>> removeAll(std::string sandboxId, std::string container,
                                             Fallback fallback) override;
  boost::asio::awaitable<Result<std::size_t>> removeOthers(
      std::function<bool(const std::string& recoveryId)> isKept) override;
  /// Removes all of them while the fallbacks go on, repeatedly until none is listed. Returns their number; an
  /// error if `limit` was too short.
  boost::asio::awaitable<Result<std::size_t>> removeEvery(std::chrono::nanoseconds limit);

 private:
  cri::Awaitable<Result<std::vector<cri::Container>>> mine();
  cri::Awaitable<Result<std::vector<cri::Container>>> containersOf(const Request& request);
  cri::Awaitable<Result<>> removeThose(std::function<bool(const std::string& recoveryId)> isKept,
                                       Fallback fallback, std::size_t& count);
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

  cri::Runtime& runtime_;
  cri::Control& control_;
  std::string runDir_;
  sys::LogLinks links_;
  std::function<void(const Error&)> trouble_;
  StandInImages images_;
};

}  // namespace fallbackd::standin
