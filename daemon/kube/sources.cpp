// SPDX-License-Identifier: Apache-2.0
#include "kube/sources.hpp"

#include "base/async/pause.hpp"
#include "base/task_group.hpp"
#include "kube/api_server.hpp"
#include "kube/keeper.hpp"
#include "kube/kubeconfig.hpp"
#include "kube/kubelet.hpp"
#include "kube/namespace_pauses.hpp"
#include "kube/owner_reader.hpp"
#include "kube/paced_reader.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace fallbackd::kube {

namespace asio = boost::asio;

namespace {

constexpr int kSourcesNiceness = 5;
constexpr std::chrono::seconds kStopLimit{1};
constexpr std::chrono::minutes kAfterException{1};
// Notes on their way to our thread, which may hang in a write to the disk.
constexpr std::size_t kMaxNotesOnTheirWay = 256;

/// Forwards what sources learn to the loop, until stop().
class Postman final : public PodSink {
 public:
  Postman(asio::any_io_executor loop, std::shared_ptr<Pods*> pods)
      : loop_(std::move(loop)), pods_(std::move(pods)) {}

  void listed(SourceKind source, std::vector<PodPtr> pods) override {
    post([source, list = std::move(pods)](Pods& to) mutable { to.listed(source, std::move(list)); });
  }
  void changed(SourceKind source, PodPtr pod) override {
    post([source, pod](Pods& to) { to.changed(source, pod); });
  }
  void gone(SourceKind source, PodPtr pod) override {
    post([source, pod](Pods& to) { to.gone(source, pod); });
  }
  void stateChanged(SourceState state) override {
    post([state](Pods& to) { to.stateChanged(state); });
  }

  template <class Work>
  void post(Work work) {
    asio::post(loop_, [pods = pods_, task = std::move(work)]() mutable {
      if (*pods != nullptr) task(**pods);
    });
  }

 private:
  asio::any_io_executor loop_;
  std::shared_ptr<Pods*> pods_;  // null after stop(); read and written on the loop's thread
};

Result<Access> apiAccess(const SourceSettings& settings) {
  return apiServerAccess(settings.kubeconfig);
}

/// kubelet gets the same credentials as the API server, because it asks the API server about them.
Result<Access> kubeletAccess(const SourceSettings& settings) {
  FB_TRY(auto access, apiAccess(settings));
  FB_TRY(access.server, parseUrl("https://" + settings.kubeletAddress));
  access.serverName.clear();
  access.authorities = {};
  access.pinnedCertificate = settings.kubeletCertificate;
  return access;
}

/// Restarts a source that ended with an exception, which only a bug or a lack of memory can cause.
template <class Source>
asio::awaitable<void> runAgain(Source& source, std::function<void(const std::string&)> tell) {
  for (;;) {
    std::string trouble;
    try {
      co_await source.run();
    } catch (const boost::system::system_error& error) {
      if (error.code() == asio::error::operation_aborted) throw;
      trouble = error.what();
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    tell(trouble);
    co_await pauseFor(kAfterException);
  }
}

}  // namespace

struct Sources::State {
  State(asio::any_io_executor daemon, SourceSettings given, Pods& pods,
        std::function<void(const std::string&)> trouble)
      : settings(std::move(given)),
        loop(std::move(daemon)),
        target(std::make_shared<Pods*>(&pods)),
        postman(loop, target),
        tellTrouble([this, tell = std::move(trouble)](const std::string& what) {
          postman.post([tell, what](Pods&) { tell(what); });
        }),
        keeper(own.get_executor(), PodViewStore(settings.viewFile, settings.nodeName), postman, tellTrouble),
        tasks(own.get_executor()) {}

  [[nodiscard]] bool has(SourceKind kind) const {
    return std::find(settings.kinds.begin(), settings.kinds.end(), kind) != settings.kinds.end();
  }
  void takeNote(EventNote note) {
    --notesOnTheirWay;
    const auto lost = notesLost.exchange(0);
    if (lost > 0) recorder->lost(lost);
    recorder->add(std::move(note));
  }
  [[nodiscard]] PodSink& sink() {
    return settings.viewFile.empty() ? static_cast<PodSink&>(postman) : keeper;
  }

  [[nodiscard]] NamespaceListener namespaceListener() {
    return {
        [this](const config::Pause::Orders& orders) {
          postman.post([tell = tellPauses, orders](Pods&) { tell(orders); });
        },
        [this](const SourceState& now) { postman.post([tell = tellNamespaces, now](Pods&) { tell(now); }); },
        tellTrouble};
  }

  asio::awaitable<void> tellRollout(PodPtr pod, std::chrono::nanoseconds maxAge,
                                    std::function<void(RolloutView)> then) {
    auto view = co_await owners->rollout(std::move(pod), maxAge);
    postman.post([view = std::move(view), answer = std::move(then)](Pods&) { answer(view); });
  }

  asio::awaitable<void> tellObjects(std::string namespaceName, NamedObjects names,
                                    std::function<void(ObjectAnswers)> then) {
    auto found = co_await objects->read(std::move(namespaceName), std::move(names));
    postman.post(
        [found = std::move(found), answer = std::move(then)](Pods&) mutable { answer(std::move(found)); });
  }

  SourceSettings settings;
  asio::any_io_executor loop;
  std::shared_ptr<Pods*> target;
  asio::io_context own{1};
  Postman postman;
  std::function<void(const std::string&)> tellTrouble;
  Keeper keeper;
  std::optional<ApiServer> apiServer;
  std::optional<Kubelet> kubelet;
  std::optional<OwnerReader> owners;
  std::optional<PacedReader> objects;
  std::function<void(const EventState&)> tellEvents;
  std::function<void(const config::Pause::Orders&)> tellPauses = [](const auto&) {};
  std::function<void(const SourceState&)> tellNamespaces = [](const auto&) {};
  std::optional<NamespacePauses> namespaces;
  std::optional<EventRecorder> recorder;
  std::atomic<std::size_t> notesOnTheirWay = 0;
  std::atomic<std::uint64_t> notesLost = 0;
  TaskGroup tasks;
  std::thread thread;
};

Sources::Sources(const asio::any_io_executor& loop, SourceSettings settings, Pods& pods,
                 std::function<void(const std::string&)> trouble)
    : state_(std::make_shared<State>(loop, std::move(settings), pods, std::move(trouble))) {}

Sources::~Sources() {
  stop();
}

void Sources::start() {
  auto& state = *state_;
  auto& pods = **state.target;
  const auto executor = state.own.get_executor();
  const auto& settings = state.settings;
  if (!settings.kinds.empty() && !settings.viewFile.empty()) {
    auto stored = state.keeper.load();
    pods.remember(std::move(stored.pods), stored.saved);
    state.tasks.spawn(state.keeper.run());
  }
  if (state.has(SourceKind::apiserver)) {
    const auto access = [settings] { return apiAccess(settings); };
    state.apiServer.emplace(executor, access, settings.nodeName, state.sink());
    state.owners.emplace(access);
    pods.stateChanged(state.apiServer->state());
    state.tasks.spawn(runAgain(*state.apiServer, state.tellTrouble));
  }
  if (!settings.readVariablesIn.empty()) {
    state.objects.emplace(executor, [settings] { return apiAccess(settings); });
  }
  if (state.has(SourceKind::kubelet)) {
    state.kubelet.emplace(
        executor, [settings] { return kubeletAccess(settings); }, state.sink());
    pods.stateChanged(state.kubelet->state());
    state.tasks.spawn(runAgain(*state.kubelet, state.tellTrouble));
    pods.refreshWith([weak = std::weak_ptr(state_)](const std::string& uid) {
      const auto held = weak.lock();
      if (!held) return;
      asio::post(held->own, [held, uid] { held->kubelet->refresh(uid); });
    });
  }
  if (settings.namespacePause) {
    state.namespaces.emplace(
        executor, [settings] { return apiAccess(settings); }, settings.stateFolder,
        state.namespaceListener());
    state.tellPauses(state.namespaces->remember());
    state.tellNamespaces(state.namespaces->state());
    state.tasks.spawn(runAgain(*state.namespaces, state.tellTrouble));
  }
  if (settings.events) {
    state.recorder.emplace(
        executor, [settings] { return apiAccess(settings); }, settings.nodeName,
        [&state](EventState told) {
          state.postman.post([tell = state.tellEvents, now = std::move(told)](Pods&) {
            if (tell) tell(now);
          });
        });
    state.tasks.spawn(runAgain(*state.recorder, state.tellTrouble));
  }
  state.thread = std::thread([own = &state.own] {
    // On Linux each thread has its own niceness. If this fails, the sources still work.
    static_cast<void>(
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kSourcesNiceness));
    const auto guard = asio::make_work_guard(*own);
    own->run();
  });
}

void Sources::stop() {
  auto& state = *state_;
  if (*state.target == nullptr) return;
  (*state.target)->refreshWith(nullptr);
  *state.target = nullptr;
  state.own.stop();
  if (state.thread.joinable()) state.thread.join();
  // Pending coroutines keep connections and the state alive: end them all.
  state.tasks.cancelAll();
  state.own.restart();
  state.own.run_for(kStopLimit);
  if (!state.settings.kinds.empty() && !state.settings.viewFile.empty()) state.keeper.save();
}

void Sources::onEvents(std::function<void(const EventState&)> tell) {
  state_->tellEvents = std::move(tell);
}

void Sources::onNamespaces(std::function<void(const config::Pause::Orders&)> pauses,
                           std::function<void(const SourceState&)> state) {
  state_->tellPauses = std::move(pauses);
  state_->tellNamespaces = std::move(state);
}

void Sources::tell(EventNote note) {
  auto& state = *state_;
  if (!state.recorder || *state.target == nullptr) return;
  if (state.notesOnTheirWay >= kMaxNotesOnTheirWay) {
    ++state.notesLost;
    return;
  }
  ++state.notesOnTheirWay;
  asio::post(state.own,
             [held = state_, told = std::move(note)]() mutable { held->takeNote(std::move(told)); });
}

void Sources::rollout(PodPtr pod, std::chrono::nanoseconds maxAge, std::function<void(RolloutView)> then) {
  auto& state = *state_;
  if (!state.owners || *state.target == nullptr) {
    RolloutView view;
    view.why = "no API server is among the sources";
    asio::post(state.loop, [answer = std::move(then), view] { answer(view); });
    return;
  }
  asio::post(state.own, [held = state_, asked = std::move(pod), maxAge, answer = std::move(then)]() mutable {
    held->tasks.spawn(held->tellRollout(std::move(asked), maxAge, std::move(answer)));
  });
}

bool Sources::objects(std::string namespaceName, NamedObjects names,
                      std::function<void(ObjectAnswers)> then) {
  auto& state = *state_;
  const auto& granted = state.settings.readVariablesIn;
  const bool isGranted = std::find(granted.begin(), granted.end(), namespaceName) != granted.end();
  if (!isGranted || *state.target == nullptr) return false;
  asio::post(state.own, [held = state_, where = std::move(namespaceName), what = std::move(names),
                         answer = std::move(then)]() mutable {
    held->tasks.spawn(held->tellObjects(std::move(where), std::move(what), std::move(answer)));
  });
  return true;
}

}  // namespace fallbackd::kube
