// SPDX-License-Identifier: Apache-2.0
// Keeps the view of the pods up to date from containerd's events and lists, and passes on what changed: to
// the attendance, which containers wait and which no longer do; to the listener, all the rest. One
// io_context thread.
#pragma once

#include "base/async/event.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "cri/runtime.hpp"
#include "watcher/attendance.hpp"
#include "watcher/gone.hpp"
#include "watcher/listener.hpp"
#include "watcher/pod_view.hpp"
#include "watcher/subscription.hpp"
#include "watcher/version_skew.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

class PodTracker final : public Subscriber {
 public:
  PodTracker(boost::asio::any_io_executor executor, cri::Runtime& runtime, PodView& pods,
             Attendance& attendance, RunningVersions& versions, Listener& listener, config::ConfigPtr config);
  void reconfigure(config::ConfigPtr config) { config_ = std::move(config); }

  cri::Awaitable<void> listed(Lists lists) override;
  cri::Awaitable<void> happened(cri::Event event) override;
  void connection(bool up, const std::string& why) override { listener_.connection(up, why); }

 private:
  /// A sandbox whose annotations are being asked for.
  struct Newcomer {
    Newcomer(const boost::asio::any_io_executor& executor, std::string uid, Stamp at)
        : podUid(std::move(uid)), since(at), askAgain(executor) {}
    std::string podUid;
    Stamp since;  // of its process, once that has started
    Event askAgain;
  };
  /// A container of a pod whose sandbox is a newcomer.
  struct Orphan {
    std::string podUid;
    cri::Container container;
  };

  /// A sandbox in containerd's store: is it being made, or may it have ended?
  enum class Standing : std::uint8_t { being_made, unknown };

  /// Adds what the lists have; the ids of the sandboxes that are ready.
  std::vector<std::string> takeIn(Lists& lists);
  static bool belongs(const Orphan& one, const std::string& sandboxId, const std::string& podUid);
  cri::Awaitable<void> taskStarted(std::string id, Stamp at);
  cri::Awaitable<void> learn(std::string id, Stamp at, Standing standing = Standing::being_made);
  void learnSandbox(const std::string& id, const cri::Labels& labels, Stamp at, Standing standing);
  cri::Awaitable<void> learnAnnotations(std::string id, std::shared_ptr<Newcomer> newcomer);
  void forgetNewcomer(const std::string& id);
  cri::Awaitable<void> learnForMetrics(std::vector<cri::Container> containers);
  cri::Awaitable<void> askForMetrics(const std::vector<cri::Container>& containers);
  cri::Awaitable<void> checkSandboxImage();
  void countVersions(const std::vector<cri::Container>& containers);

  void addSandbox(cri::Sandbox sandbox, Stamp since);
  void adopt(const std::string& podUid, const cri::Container& container);
  void addContainer(const std::string& sandboxId, const cri::Container& container);
  void dropContainer(const std::string& id);
  void dropSandbox(const std::string& sandboxId);
  void sandboxEnded(const std::string& id);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  cri::Runtime& runtime_;
  PodView& pods_;
  Attendance& attendance_;
  RunningVersions& versions_;
  Listener& listener_;
  config::ConfigPtr config_;
  std::map<std::string, std::shared_ptr<Newcomer>> newcomers_;  // by sandbox id
  std::vector<Orphan> orphans_;
  // A container that has ended still counts as made; one that was deleted does not.
  Gone ended_;
  Gone deleted_;
  bool learnsForMetrics_ = false;  // one task at a time, however often lists come
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
