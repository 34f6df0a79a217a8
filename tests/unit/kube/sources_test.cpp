// SPDX-License-Identifier: Apache-2.0
// All sources on their own thread, as in the daemon, with the system clock.
#include "kube/sources.hpp"

#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "kube/view_store.hpp"
#include "kubeconfig_text.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <optional>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using kube_test::Authority;
using kube_test::FakeApiServer;
using kube_test::FakeKubelet;
using kube_test::podJson;
using testing::IsEmpty;

class SourcesTest : public testing::Test {
 protected:
  SourcesTest() {
    api.acceptTokens({"secret-1"});
    kubelet.acceptTokens({"secret-1"});
    folder.write("token", "secret-1");
    folder.write("ca.crt", authority.certificate());
    settings.kinds = {SourceKind::kubelet, SourceKind::apiserver};
    settings.nodeName = "node-1";
    settings.kubeconfig = folder.write("kubeconfig", test::kubeconfigFor(api.address()));
    settings.kubeletAddress = kubelet.address();
    settings.kubeletCertificate = folder.write("kubelet.crt", own.certificate);
    settings.viewFile = folder.path() + "/pods.view";
  }
  bool until(const std::function<bool()>& done) { return test::runUntil(loop, done); }
  static Health healthOf(const Pods& pods, SourceKind kind) {
    for (const auto& state : pods.sources()) {
      if (state.kind == kind) return state.health;
    }
    return Health::waiting;
  }

  boost::asio::io_context loop{1};
  test::TempFolder folder;
  Authority authority{"cluster"};
  kube_test::Leaf own = Authority::selfSigned("DNS:node-1");
  FakeApiServer api{authority.server("IP:127.0.0.1")};
  FakeKubelet kubelet{own};
  SourceSettings settings;
  std::vector<std::string> troubles;
  std::function<void(const std::string&)> trouble = [this](const std::string& what) {
    troubles.push_back(what);
  };
};

TEST_F(SourcesTest, TheirPodsReachTheLoopAndTheNextDaemon) {
  api.put(podJson("checkout-1", "uid-1"));
  kubelet.setPods({podJson("checkout-2", "uid-2")});
  {
    Pods pods;
    Sources sources(loop.get_executor(), settings, pods, trouble);
    sources.start();
    EXPECT_TRUE(until([&] { return pods.find("uid-1") != nullptr; }));
    EXPECT_EQ(kubelet.connections(), 0U);
    pods.refresh("uid-2");
    EXPECT_TRUE(until([&] { return pods.find("uid-2") != nullptr; }));
    EXPECT_TRUE(until([&] { return healthOf(pods, SourceKind::kubelet) == Health::up; }));
    EXPECT_TRUE(until([&] { return healthOf(pods, SourceKind::apiserver) == Health::up; }));
    EXPECT_EQ(pods.sources().front().kind, SourceKind::kubelet) << "it takes precedence";
    sources.stop();
    pods.refresh("uid-3");
  }
  api.trouble({kube_test::Fault::silent_accept});
  Pods pods;
  Sources next(loop.get_executor(), settings, pods, trouble);
  next.start();
  EXPECT_TRUE(pods.find("uid-1")) << "the next daemon knows it at once, although no server answers";
  EXPECT_TRUE(pods.find("uid-2"));
  EXPECT_TRUE(pods.rememberedSince());
  EXPECT_THAT(troubles, IsEmpty());
  EXPECT_THAT(api.violations(), IsEmpty());
  EXPECT_THAT(kubelet.violations(), IsEmpty());
}

TEST_F(SourcesTest, RolloutsAreAnsweredOnTheLoop) {
  settings.kinds = {SourceKind::apiserver};
  api.put(podJson("checkout-1", "uid-1"));
  api.putOwner("/apis/apps/v1/namespaces/shop/replicasets/checkout-5d4f", R"({"metadata":{"uid":"rs-1"}})");
  Pods pods;
  Sources sources(loop.get_executor(), settings, pods, trouble);
  sources.start();
  ASSERT_TRUE(until([&] { return pods.find("uid-1") != nullptr; }));
  std::optional<RolloutView> view;
  const auto loopThread = std::this_thread::get_id();
  sources.rollout(pods.find("uid-1"), std::chrono::nanoseconds(0), [&](RolloutView answer) {
    EXPECT_EQ(std::this_thread::get_id(), loopThread);
    view = std::move(answer);
  });
  ASSERT_TRUE(until([&] { return view.has_value(); }));
  EXPECT_EQ(view->rollout, Rollout::complete);
  sources.stop();
  view.reset();
  sources.rollout(parsePodObject(podJson("checkout-1", "uid-1")).value(), std::chrono::nanoseconds(0),
                  [&](RolloutView answer) { view = std::move(answer); });
  ASSERT_TRUE(until([&] { return view.has_value(); }));
  EXPECT_EQ(view->rollout, Rollout::unknown);
}

TEST_F(SourcesTest, ADamagedFileIsReportedAndWrittenAgain) {
  folder.write("pods.view", "damaged");
  settings.kinds = {SourceKind::apiserver};
  api.put(podJson("checkout-1", "uid-1"));
  Pods pods;
  {
    Sources sources(loop.get_executor(), settings, pods, trouble);
    sources.start();
    EXPECT_TRUE(until([&] { return pods.find("uid-1") != nullptr && !troubles.empty(); }));
  }
  EXPECT_EQ(PodViewStore(settings.viewFile, "node-1").load()->pods.size(), 1U);
}

EventNote noteOf(const std::string& pod) {
  EventNote note;
  note.namespaceName = "shop";
  note.pod = pod;
  note.podUid = "uid-" + pod;
  note.container = "main";
  note.reason = "FallbackServing";
  note.message = "serves";
  note.at = Clock::system().wall();
  return note;
}

TEST_F(SourcesTest, EventsNeedNoSource) {
  settings.kinds = {};
  settings.events = true;
  Pods pods;
  Sources sources(loop.get_executor(), settings, pods, trouble);
  const auto loopThread = std::this_thread::get_id();
  EventState state;
  sources.onEvents([&](const EventState& now) {
    EXPECT_EQ(std::this_thread::get_id(), loopThread);
    state = now;
  });
  sources.start();
  sources.tell(noteOf("checkout-1"));
  EXPECT_TRUE(until([&] { return state.health == Health::up; })) << state.error;
  EXPECT_EQ(api.events().size(), 1U);
  EXPECT_EQ(api.requests().size(), 1U) << "nothing is listed or watched";
  sources.stop();
  sources.tell(noteOf("checkout-2"));
  EXPECT_FALSE(std::filesystem::exists(settings.viewFile));
  EXPECT_THAT(api.violations(), IsEmpty());
}

TEST_F(SourcesTest, WithoutEventsNothingIsWritten) {
  Pods pods;
  Sources sources(loop.get_executor(), settings, pods, trouble);
  sources.start();
  sources.tell(noteOf("checkout-1"));
  ASSERT_TRUE(until([&] { return healthOf(pods, SourceKind::apiserver) == Health::up; }));
  sources.stop();
  EXPECT_THAT(api.eventRequests(), IsEmpty());
}

/// The sources' thread may hang in a write to the disk: notes are still accepted, with bounded memory.
TEST_F(SourcesTest, NotesBeyondTheLimitAreDroppedAndCounted) {
  settings.kinds = {};
  settings.events = true;
  Pods pods;
  Sources sources(loop.get_executor(), settings, pods, trouble);
  EventState state;
  sources.onEvents([&](const EventState& now) { state = now; });
  sources.start();
  // The thread takes notes while the test adds them; of so many at once some find no place on the way or in
  // the queue.
  constexpr int kMany = 5000;
  for (int i = 0; i < kMany; ++i) sources.tell(noteOf("pod-" + std::to_string(i)));
  const auto dropped = [&] { return state.results.at(static_cast<std::size_t>(EventResult::dropped_full)); };
  EXPECT_TRUE(until([&] { return dropped() + EventQueue::kMaxWaiting >= 4000; })) << dropped();
  sources.stop();
}

TEST_F(SourcesTest, StopsWhileEverythingHangs) {
  api.trouble({kube_test::Fault::silent_accept});
  kubelet.trouble({kube_test::Fault::silent_accept});
  settings.events = true;
  Pods pods;
  Sources sources(loop.get_executor(), settings, pods, trouble);
  sources.start();
  pods.refresh("uid-1");
  sources.tell(noteOf("checkout-1"));
  EXPECT_TRUE(until([&] { return api.connections() > 0 && kubelet.connections() > 0; }));
  sources.stop();
  sources.stop();
}

}  // namespace
}  // namespace fallbackd::kube
