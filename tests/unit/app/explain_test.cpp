// SPDX-License-Identifier: Apache-2.0
// Every way in which a pod gets, or does not get, its fallback, and the advice for it.
#include "app/explain.hpp"

#include "output_schema.hpp"
#include "snapshots.hpp"

#include <algorithm>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::app {
namespace {

using recovery::State;
using testing::HasSubstr;
using testing::Not;
using Waits = watcher::Waiting::State;

/// "match yes, container yes, image no"
std::string walkOf(const Explanation& one) {
  const auto text = boost::json::parse(explainJson({one}));
  std::string walk;
  for (const auto& step : text.at(0).at("steps").as_array()) {
    walk += (walk.empty() ? "" : ", ") + std::string(step.at("question").as_string()) + " " +
            std::string(step.at("verdict").as_string());
  }
  return walk;
}

Explanation only(const Snapshot& snapshot, const std::string& pod = "web-0") {
  const auto all = explain(snapshot, pod);
  EXPECT_EQ(all.size(), 1U);
  return all.empty() ? Explanation{} : all.front();
}

Snapshot withPod() {
  auto snapshot = quietNode();
  snapshot.pods.push_back({sandboxOf("web-0"), {}});
  return snapshot;
}

Snapshot waitingFor(Waits state, Cause cause = Cause::unreachable) {
  auto snapshot = withPod();
  auto waiting = waitingOf(snapshot, "web-0", state);
  waiting.cause = cause;
  waiting.text = "containerd's words";
  snapshot.waiting.push_back(waiting);
  return snapshot;
}

TEST(Explain, MatchesItsSchema) {
  const auto text = explainJson(explain(waitingFor(Waits::failed), "web-0"));
  EXPECT_THAT(text, HasSubstr("web-0"));
  EXPECT_EQ(test::schemaProblems("explain", text), "");
}

TEST(Explain, IsJsonForEveryQuestion) {
  const auto text = boost::json::parse(explainJson(explain(quietNode(), "web-\xff")));
  EXPECT_EQ(text.at(0).at("pod").as_string(), "web-\ufffd");
}

TEST(Explain, APodThatIsNotHere) {
  const auto one = only(withPod(), "web-1");
  EXPECT_EQ(walkOf(one), "match no");
  EXPECT_THAT(one.steps[0].text, HasSubstr("did you mean web-0?"));
  EXPECT_THAT(one.next, HasSubstr("kubectl get pod -o wide"));
  auto lost = withPod();
  lost.containerdConnected = false;
  EXPECT_THAT(only(lost, "web-1").next,
              HasSubstr("containerd does not answer at /run/containerd/containerd.sock"));
}

TEST(Explain, APodThatNoWorkloadCovers) {
  auto snapshot = withPod();
  snapshot.pods[0].sandbox.labels = {{"app", "chekout"}};
  snapshot.pods[0].sandbox.podNamespace = "shop2";
  const auto one = only(snapshot);
  EXPECT_EQ(walkOf(one), "match no");
  EXPECT_THAT(one.steps[0].text,
              HasSubstr("namespace is shop2, not shop; label app is chekout, not checkout"));
  EXPECT_THAT(one.verdict, HasSubstr("no workload covers this pod"));
  EXPECT_TRUE(explain(snapshot, "shop/web-0").front().steps[0].text.find("no pod of that name") == 0)
      << "a different namespace";
}

TEST(Explain, TheRealContainerExists) {
  auto snapshot = withPod();
  snapshot.pods[0].containers.push_back({"checkout", std::nullopt});
  EXPECT_EQ(walkOf(only(snapshot)), "match yes, container no");
  EXPECT_THAT(only(snapshot).verdict, HasSubstr("no fallback is needed"));
}

TEST(Explain, AnnotationsThatAreNotFollowed) {
  auto snapshot = withPod();
  auto config = std::make_shared<config::Config>(*snapshot.config);
  config->podAnnotations.namespaces = {"shop"};
  snapshot.config = config;
  snapshot.pods[0].sandbox.labels.clear();
  snapshot.pods[0].choices =
      watcher::readChoices({{"fallbackd.io/binary.web", "web@1"}, {"fallbackd.io/image.web", "r/a:1:2"}});
  auto one = only(snapshot);
  EXPECT_EQ(walkOf(one), "annotation no");
  EXPECT_THAT(one.steps[0].text, HasSubstr("pod shop/web-0: annotation \"fallbackd.io/image.web\""));
  EXPECT_THAT(one.next, HasSubstr("for at most 16 containers"));
  snapshot.pods[0].choices = {};
  snapshot.pods[0].overLimit = 3;
  one = only(snapshot);
  EXPECT_THAT(one.steps[0].text, HasSubstr("3 of its containers are ignored"));
}

TEST(Explain, ACircuitThatIsOpenForOneNamespace) {
  auto snapshot = waitingFor(Waits::failed);
  watcher::Circuits::Host host{"registry.example.com", watcher::Circuits::State::closed, {}, {}};
  host.namespaces = {"evil", "shop"};
  snapshot.registries.push_back(host);
  const auto text = explainJson({only(snapshot)});
  EXPECT_THAT(text, HasSubstr("open for namespace shop only"));
  snapshot.registries[0].namespaces = {"evil"};
  EXPECT_THAT(explainJson({only(snapshot)}), HasSubstr("of registry.example.com: closed"));
}

TEST(Explain, TheNodesPasswordIsNotUsedForAnAnnotatedImage) {
  auto snapshot = waitingFor(Waits::undecided, Cause::unauthorized);
  EXPECT_THAT(only(snapshot).next, HasSubstr("the credentials that kubelet has"));
  auto own = std::make_shared<config::Workload>(*snapshot.waiting[0].workload);
  own->imageFrom = Provenance::annotation;
  snapshot.waiting[0].workload = own;
  EXPECT_THAT(only(snapshot).next, HasSubstr("registries[].repositories"));
}

TEST(Explain, WhyThereAreNoCredentials) {
  auto snapshot = waitingFor(Waits::undecided, Cause::unauthorized);
  snapshot.waiting[0].trouble = "credential provider \"p\": p exited with 1";
  const auto one = only(snapshot);
  EXPECT_EQ(walkOf(one),
            "match yes, container yes, image yes, credentials notice, cause pending, circuit yes");
  EXPECT_EQ(one.steps[3].text, snapshot.waiting[0].trouble);
  EXPECT_THAT(one.next, HasSubstr("credentialProviders"));
}

TEST(Explain, TheImageIsPresentOrNeverPulled) {
  EXPECT_EQ(walkOf(only(waitingFor(Waits::image_present))), "match yes, container yes, image no");
  EXPECT_EQ(walkOf(only(waitingFor(Waits::never_pulled))), "match yes, container yes, image no");
  EXPECT_EQ(walkOf(only(waitingFor(Waits::after_init_containers))),
            "match yes, container yes, image pending");
}

TEST(Explain, NotStartedForAnUnknownReason) {
  const auto one = only(waitingFor(Waits::not_started, Cause::not_started));
  EXPECT_EQ(walkOf(one), "match yes, container yes, image yes, cause yes, kubelet no");
  EXPECT_THAT(one.verdict, HasSubstr("no fallback is started, since kubelet may be refusing it"));
  EXPECT_THAT(one.next, HasSubstr("kubectl describe pod"));
}

Snapshot behindAPull(Waits state = Waits::not_started) {
  auto snapshot = waitingFor(state, Cause::not_started);
  snapshot.waiting[0].imageSince = snapshot.takenAt - std::chrono::seconds(20);
  snapshot.waiting[0].heldUp = watcher::StalledPull{"r.silent:5000/cart:1",
                                                    "r.silent:5000",
                                                    "shop",
                                                    "cart-0",
                                                    "cart",
                                                    snapshot.takenAt - std::chrono::seconds(82),
                                                    {}};
  snapshot.taken = *parseRfc3339("2026-01-31T12:01:22Z");
  return snapshot;
}

TEST(Explain, KubeletIsStuckBehindAnotherPull) {
  auto snapshot = behindAPull();
  auto one = only(snapshot);
  EXPECT_EQ(
      walkOf(one),
      "match yes, container yes, image yes, cause yes, kubelet yes, trigger yes, binary yes, launch pending");
  EXPECT_THAT(one.steps[2].text, HasSubstr("since 2026-01-31T12:01:02"));
  EXPECT_THAT(one.steps[4].text,
              HasSubstr("is stuck behind the pull of r.silent:5000/cart:1 for container cart of pod "
                        "shop/cart-0: registry r.silent:5000 has stalled since 2026-01-31T12:00:00"));
  snapshot.incidents.push_back(incidentOf("web-0", State::ready));
  snapshot.incidents[0].cause = Cause::not_started;
  one = only(snapshot);
  EXPECT_EQ(one.verdict, "the fallback is serving");
  EXPECT_THAT(walkOf(one), HasSubstr("image yes, cause yes, kubelet yes, trigger yes"));
  snapshot.waiting[0].heldUp.reset();
  EXPECT_THAT(walkOf(only(snapshot)), HasSubstr("cause yes, kubelet notice, trigger yes"));
}

TEST(Explain, AnOrderKeepsTheFallbackFromBeingStarted) {
  auto snapshot = waitingFor(Waits::failed);
  EXPECT_THAT(walkOf(only(snapshot)), HasSubstr("launch pending"));
  snapshot.withheld = {withheldOf("web-0", recovery::Withheld::By::pause)};
  snapshot.pause.namespaces["shop"] = {{}, "a bad day"};
  auto one = only(snapshot);
  EXPECT_THAT(walkOf(one), HasSubstr("launch no"));
  EXPECT_EQ(one.verdict, "new recoveries are paused");
  EXPECT_THAT(one.steps.back().text, HasSubstr("a bad day"));
  EXPECT_THAT(one.next, HasSubstr("fallbackctl resume"));
  snapshot.pause = {};
  snapshot.pause.annotated["shop"] = {{}, "incident 4711"};
  one = only(snapshot);
  EXPECT_THAT(one.steps.back().text, HasSubstr("incident 4711"));
  EXPECT_EQ(one.next, "kubectl annotate namespace shop fallbackd.io/pause- ends the pause");
  snapshot.withheld = {withheldOf("web-0", recovery::Withheld::By::observe)};
  snapshot.withheld[0].wouldStartAfter = std::chrono::milliseconds(11);
  one = only(snapshot);
  EXPECT_EQ(one.verdict, "mode observe: nothing is started");
  EXPECT_THAT(one.steps.back().text, HasSubstr("it would have been started 11ms after the wait began"));
}

TEST(Explain, TheAddressesOfAPodAreKnownByTheLaunch) {
  auto snapshot = withPod();
  auto config = std::make_shared<config::Config>(*snapshot.config);
  config->workloads.front().inheritance.on = true;
  snapshot.config = config;
  snapshot.pods.front().sandbox.podUid = "uid-1";
  const auto explained = [&](const std::string& field) {
    const auto spec =
        kube::parsePod(R"({"metadata":{"name":"web-0","namespace":"shop","uid":"uid-1"},"spec":{)"
                       R"("containers":[{"name":"checkout","image":"r.example.com/checkout:1.8.3",)"
                       R"("command":["/checkout"],"env":[{"name":"A","valueFrom":{"fieldRef":)"
                       R"({"fieldPath":")" +
                       field + R"("}}}]}]}})");
    EXPECT_TRUE(spec);
    snapshot.specs["uid-1"] = std::make_shared<const kube::Pod>(*spec);
    return explainJson({only(snapshot)});
  };
  EXPECT_THAT(explained("status.podIPs"), Not(HasSubstr("\\\"A\\\"")));
  EXPECT_THAT(explained("status.podIP"), Not(HasSubstr("\\\"A\\\"")));
  EXPECT_THAT(explained("status.hostIP"), HasSubstr("\\\"A\\\"")) << "no source has reported it";
}

TEST(Explain, KubeletBacksOff) {
  auto snapshot = behindAPull();
  snapshot.waiting[0].heldUp = watcher::BackOff{snapshot.takenAt - std::chrono::seconds(2),
                                                snapshot.takenAt + std::chrono::seconds(38)};
  EXPECT_THAT(
      only(snapshot).steps[4].text,
      HasSubstr("until 2026-01-31T12:01:20.000000000Z, and does not pull before 2026-01-31T12:02:00"));
}

TEST(Explain, NotStartedIsNotATrigger) {
  auto snapshot = behindAPull();
  auto own = std::make_shared<config::Workload>(*snapshot.waiting[0].workload);
  own->detection.triggers = {Cause::dns};
  snapshot.waiting[0].workload = own;
  EXPECT_THAT(walkOf(only(snapshot)), HasSubstr("kubelet yes, trigger no"));
  EXPECT_THAT(only(snapshot).next, HasSubstr("list not_started in detection.triggers"));
}

TEST(Explain, ARecoveryThatWasWithdrawn) {
  auto snapshot = withPod();
  auto incident = incidentOf("web-0", State::withdrawn);
  incident.cause = Cause::not_started;
  incident.stamps.started.reset();
  incident.stamps.ready.reset();
  snapshot.pods.clear();
  snapshot.incidents.push_back(incident);
  EXPECT_THAT(only(snapshot).verdict, HasSubstr("withdrawn before its fallback was launched"));
}

TEST(Explain, TheCauseIsUndecided) {
  EXPECT_EQ(walkOf(only(waitingFor(Waits::asking))),
            "match yes, container yes, image yes, cause pending, circuit yes");
  const auto undecided = only(waitingFor(Waits::undecided));
  EXPECT_EQ(walkOf(undecided), "match yes, container yes, image yes, cause pending, circuit yes");
  EXPECT_THAT(undecided.next, HasSubstr("credentials"));
}

TEST(Explain, ALockedLayerMeansWaiting) {
  auto snapshot = waitingFor(Waits::undecided);
  snapshot.waiting[0].text =
      "failed to pull and unpack image \"r/a:1\": ref layer-sha256:00 locked for 2s: unavailable";
  const auto one = only(snapshot);
  EXPECT_EQ(walkOf(one), "match yes, container yes, image yes, cause pending");
  EXPECT_THAT(one.next, HasSubstr("try again"));
}

TEST(Explain, AnUnknownCauseIsLocated) {
  auto snapshot = waitingFor(Waits::failed, Cause::unknown);
  snapshot.waiting[0].text =
      "failed to pull and unpack image \"r/a:1\": failed to extract layer sha256:00: archive/tar: invalid "
      "tar header: unknown";
  const auto one = only(snapshot);
  const auto cause = std::find_if(one.steps.begin(), one.steps.end(),
                                  [](const auto& step) { return step.question == "cause"; });
  ASSERT_NE(cause, one.steps.end());
  EXPECT_THAT(cause->text, HasSubstr("unknown: extract: invalid tar header (in: failed to pull"));
}

TEST(Explain, TheCauseDoesNotTrigger) {
  const auto one = only(waitingFor(Waits::failed, Cause::not_found));
  EXPECT_EQ(walkOf(one),
            "match yes, container yes, image yes, cause yes, trigger no, circuit yes, binary yes");
  EXPECT_THAT(one.next, HasSubstr("correct the image's tag"));
  EXPECT_THAT(only(waitingFor(Waits::failed, Cause::tls)).next, HasSubstr("detection.triggers"));
}

TEST(Explain, TheBinaryIsRefusedOrMissing) {
  auto snapshot = waitingFor(Waits::failed);
  snapshot.registries.push_back(
      {"registry.example.com", watcher::Circuits::State::open, {Cause::unreachable, "x"}, {}});
  auto& binary = snapshot.binaries->front();
  binary.serves = false;
  binary.refused = Error{Stage::admission, Reason::expired, 0, "checkout@1.8.3 expired"};
  const auto expired = only(snapshot);
  EXPECT_EQ(walkOf(expired),
            "match yes, container yes, image yes, cause yes, trigger yes, circuit notice, binary no");
  EXPECT_THAT(expired.next, HasSubstr("fallbackctl verify checkout@1.8.3"));
  binary.refused = Error{Stage::admission, Reason::not_found, 0, "no such file"};
  EXPECT_THAT(only(snapshot).next,
              HasSubstr("fallbackctl install --attestation checkout-v1.8.3.sigstore.json"));
}

TEST(Explain, ARecoveryServesEndsOrFails) {
  auto snapshot = withPod();
  const std::string until =
      "match yes, container yes, image yes, cause yes, trigger yes, binary yes, launch ";
  const std::string running = "match yes, image yes, cause yes, trigger yes, binary yes, launch ";
  snapshot.incidents = {incidentOf("web-0", State::ready)};
  EXPECT_EQ(walkOf(only(snapshot)), running + "yes, readiness yes");
  EXPECT_EQ(only(snapshot).verdict, "the fallback is serving");
  snapshot.incidents[0].stamps.stopped = snapshot.takenAt;
  EXPECT_EQ(walkOf(only(snapshot)), running + "yes, readiness yes, hand-back pending");
  EXPECT_THAT(only(snapshot).verdict, HasSubstr("has stopped"));
  snapshot.incidents[0].stamps.stopped.reset();
  EXPECT_EQ(only(snapshot).recovery, "0123456789ab");
  EXPECT_THAT(only(snapshot).steps.back().text, HasSubstr("30.0 ms"));
  snapshot.incidents = {incidentOf("web-0", State::started)};
  EXPECT_EQ(walkOf(only(snapshot)), running + "yes, readiness pending");

  auto waits = incidentOf("web-0", State::verified);
  waits.error = Error{Stage::spawner, Reason::system, EAGAIN, "clone"};
  snapshot.incidents = {waits};
  EXPECT_EQ(walkOf(only(snapshot)), running + "notice");
  EXPECT_THAT(only(snapshot).steps.back().text, HasSubstr("tried again: spawner: system: clone"));
  EXPECT_EQ(only(snapshot).verdict, "the recovery is in progress");

  auto failed = incidentOf("web-0", State::failed);
  failed.error = Error{Stage::health_check, Reason::exited, 0, "exit code 3"};
  snapshot.incidents = {failed};
  EXPECT_EQ(walkOf(only(snapshot)), until + "no");
  EXPECT_THAT(only(snapshot).verdict, HasSubstr("failed its health check"));
  snapshot.incidents[0].error = Error{Stage::readiness, Reason::timeout, 0, "port 8080"};
  EXPECT_EQ(walkOf(only(snapshot)), until + "yes, readiness no");
  snapshot.incidents[0].error = Error{Stage::rootfs, Reason::volume_missing, 0, "settings"};
  EXPECT_THAT(only(snapshot).verdict, HasSubstr("a volume"));
  snapshot.incidents[0].error = Error{Stage::admission, Reason::revoked, 0, "digest"};
  EXPECT_THAT(walkOf(only(snapshot)), HasSubstr("binary no"));
  snapshot.incidents[0].error = Error{Stage::admission, Reason::not_permitted, 0, "namespace"};
  EXPECT_THAT(only(snapshot).next, HasSubstr("fallbackctl sign --namespace"));
  snapshot.incidents[0].error = Error{Stage::admission, Reason::version_rollback, 0, "floor"};
  EXPECT_THAT(only(snapshot).next, HasSubstr("name checkout@1.8.3 in a workload of the configuration"));

  snapshot.incidents = {incidentOf("web-0", State::handed_back)};
  snapshot.pods[0].containers.push_back({"checkout", std::nullopt});
  EXPECT_THAT(walkOf(only(snapshot)), HasSubstr("launch yes, readiness yes, hand-back yes"));
}

TEST(Explain, ADeletedPodIsRemembered) {
  auto snapshot = quietNode();
  snapshot.incidents = {incidentOf("web-0", State::pod_gone)};
  EXPECT_EQ(only(snapshot).verdict, "the fallback ended with its pod");
}

}  // namespace
}  // namespace fallbackd::app
