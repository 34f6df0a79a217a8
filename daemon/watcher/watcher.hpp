// Watches containerd: which pods wait for a container, why its image cannot be pulled, and when the wait is
// over. Tells a Listener. Everything runs on one io_context thread; nothing blocks.
#pragma once

#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "watcher/match.hpp"
#include "watcher/prober.hpp"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fallbackd::watcher {

/// A container of a pod that waits for its image, and the image cannot be pulled for a cause that triggers.
struct Detection {
  cri::Sandbox sandbox;
  WorkloadPtr workload;
  Cause cause = Cause::unknown;
  std::string text;    // containerd's words
  Stamp waitingSince;  // when the sandbox started, or when we first saw it wait
  Stamp failureKnown;
};

/// Called on the loop's thread; must not block.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void detected(Detection detection) = 0;
  /// The real container was made in the pod: its process starts about 90 ms later.
  virtual void containerCreated(const std::string& podUid, const std::string& container,
                                const std::string& id) = 0;
  virtual void containerStarted(const std::string& id, Stamp at) = 0;
  /// The pod's pause process runs: from now on a container could be in it.
  virtual void sandboxStarted(const std::string& sandboxId, Stamp at) = 0;
  virtual void sandboxGone(const std::string& sandboxId) = 0;
  virtual void imageArrived(const std::string& reference) = 0;
  virtual void probed(const config::Workload& workload, const Verdict& verdict) = 0;
  /// The event stream stands and the pod view is complete (true), or was lost (false, with the reason).
  virtual void connection(bool up, const std::string& why) = 0;
};

class Watcher {
 public:
  Watcher(boost::asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
          Listener& listener, config::ConfigPtr config);

  /// Runs until cancelled: subscribes, lists, follows events, subscribes again with back-off.
  cri::Awaitable<void> run();

  /// From now on this configuration counts; pods that wait are looked at anew.
  void reconfigure(config::ConfigPtr config);

  [[nodiscard]] std::size_t waiting() const { return attended_.size(); }

 private:
  struct KnownContainer {
    std::string name;
    Stamp seen;
  };
  struct Pod {
    cri::Sandbox sandbox;
    Stamp seen;                                        // when we first heard of it
    Stamp since;                                       // when its pause process started, as far as known
    std::map<std::string, KnownContainer> containers;  // by container id
  };
  using Key = std::pair<std::string, std::string>;  // sandbox id, container name
  struct Attendance {
    WorkloadPtr workload;
    TaskGroup::Id task = 0;
    std::shared_ptr<boost::asio::steady_timer> pause;  // cancelled to look again at once
  };

  cri::Awaitable<Result<>> follow();
  cri::Awaitable<Result<>> resync();
  cri::Awaitable<void> resyncRegularly();
  cri::Awaitable<void> handle(cri::Event event);
  cri::Awaitable<void> learn(std::string id, Stamp at);
  cri::Awaitable<void> attend(Key key, WorkloadPtr workload,
                              std::shared_ptr<boost::asio::steady_timer> pause);
  cri::Awaitable<std::chrono::nanoseconds> lookOnce(Key key, WorkloadPtr workload);

  void addSandbox(cri::Sandbox sandbox, Stamp since);
  void addContainer(const std::string& sandboxId, const std::string& name, const std::string& id);
  void dropContainer(const std::string& id);
  void dropSandbox(const std::string& sandboxId);
  void attendAll(const Pod& pod);
  void leave(const Key& key);
  std::chrono::nanoseconds jittered(std::chrono::nanoseconds interval);

  boost::asio::any_io_executor executor_;
  cri::Runtime& runtime_;
  cri::EventSource& events_;
  Listener& listener_;
  config::ConfigPtr config_;
  Prober prober_;
  std::map<std::string, Pod> pods_;               // by sandbox id
  std::map<std::string, std::string> sandboxOf_;  // container id -> sandbox id
  std::map<Key, Attendance> attended_;
  std::minstd_rand random_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
