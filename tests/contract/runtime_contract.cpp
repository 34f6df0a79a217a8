// SPDX-License-Identifier: Apache-2.0
#include "base/async/within.hpp"
#include "contract.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::test {
namespace {

using namespace std::chrono_literals;
using Program = ContractNode::Program;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

const std::string kNobody(64, 'f');  // an id that no container has

template <class List>
const typename List::value_type* byId(const List& list, const std::string& id) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.id == id; });
  return found == list.end() ? nullptr : &*found;
}

TEST_P(RuntimeContract, SaysItsNameAndVersion) {
  const auto version = ask(runtime().version());
  ASSERT_TRUE(version) << version.error().message();
  EXPECT_THAT(version->name, Not(IsEmpty()));
  EXPECT_THAT(version->version, Not(IsEmpty()));
}

TEST_P(RuntimeContract, ListsASandboxAsKubeletMadeIt) {
  const auto pod = node->startPod("web-0");
  const auto list = ask(runtime().listSandboxes());
  ASSERT_TRUE(list) << list.error().message();
  const auto* one = byId(*list, pod.sandboxId);
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->podName, "web-0");
  EXPECT_EQ(one->podNamespace, "shop");
  EXPECT_EQ(one->podUid, pod.uid);
  EXPECT_EQ(one->attempt, 0U);
  EXPECT_TRUE(one->ready);
  const cri::Labels labels{{"app", "web-0"},
                           {"io.kubernetes.pod.name", "web-0"},
                           {"io.kubernetes.pod.namespace", "shop"},
                           {"io.kubernetes.pod.uid", pod.uid}};
  EXPECT_THAT(one->labels, IsSupersetOf(labels));
  EXPECT_THAT(one->annotations, Contains(Pair("example.com/owner", "team")));
}

TEST_P(RuntimeContract, ReturnsTheSandboxStatusThatALaunchNeeds) {
  const auto pod = node->startPod("web-0");
  const auto status = ask(runtime().sandboxStatus(pod.sandboxId));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(status->sandbox.id, pod.sandboxId);
  EXPECT_EQ(status->sandbox.podUid, pod.uid);
  EXPECT_TRUE(status->sandbox.ready);
  EXPECT_THAT(status->sandbox.labels, Contains(Pair("io.kubernetes.pod.uid", pod.uid)));
  EXPECT_THAT(status->sandbox.annotations, Contains(Pair("example.com/owner", "team")));
  EXPECT_GT(status->pausePid, 1);
  EXPECT_THAT(status->ips, Not(IsEmpty()));
  EXPECT_THAT(status->cgroupParent, HasSubstr(pod.uid));
  EXPECT_THAT(status->resolvConfPath, StartsWith("/"));
  EXPECT_THAT(status->shmPath, StartsWith("/"));
  EXPECT_THAT(status->logDirectory, HasSubstr(pod.uid));
  EXPECT_EQ(status->hostname, "web-0");
  EXPECT_EQ(status->network, cri::NamespaceMode::pod);
}

TEST_P(RuntimeContract, AStoppedSandboxIsListedAsNotReadyAndCannotBeJoined) {
  const auto pod = node->startPod("web-0");
  node->stopSandbox(pod);
  const auto list = ask(runtime().listSandboxes());
  ASSERT_TRUE(list) << list.error().message();
  const auto* one = byId(*list, pod.sandboxId);
  ASSERT_NE(one, nullptr);
  EXPECT_FALSE(one->ready);
  const auto status = ask(runtime().sandboxStatus(pod.sandboxId));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().stage, Stage::sandbox);
  EXPECT_EQ(status.error().reason, Reason::sandbox_gone) << status.error().message();
}

TEST_P(RuntimeContract, ARemovedSandboxIsNotFound) {
  const auto pod = node->startPod("web-0");
  node->stopSandbox(pod);
  node->removeSandbox(pod);
  const auto list = ask(runtime().listSandboxes());
  ASSERT_TRUE(list) << list.error().message();
  EXPECT_EQ(byId(*list, pod.sandboxId), nullptr);
  for (const auto& id : {pod.sandboxId, kNobody}) {
    const auto status = ask(runtime().sandboxStatus(id));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().stage, Stage::sandbox);
    EXPECT_EQ(status.error().reason, Reason::not_found) << status.error().message();
  }
}

TEST_P(RuntimeContract, ListsContainersWithTheirState) {
  using State = cri::Container::State;
  const auto pod = node->startPod("web-0");
  const auto id = node->createContainer(pod, "web", Program::fails);
  const auto listed = [&]() -> std::optional<cri::Container> {
    const auto list = ask(runtime().listContainers());
    EXPECT_TRUE(list) << list.error().message();
    const auto* one = list ? byId(*list, id) : nullptr;
    return one == nullptr ? std::nullopt : std::optional(*one);
  };
  const auto created = listed();
  ASSERT_TRUE(created);
  EXPECT_EQ(created->sandboxId, pod.sandboxId);
  EXPECT_EQ(created->name, "web");
  EXPECT_EQ(created->attempt, 0U);
  EXPECT_EQ(created->state, State::created);
  EXPECT_EQ(created->image, "") << "kubelet names it by its id";
  EXPECT_THAT(created->imageId, StartsWith("sha256:"));
  EXPECT_THAT(created->labels, Contains(Pair("io.kubernetes.container.name", "web")));
  EXPECT_THAT(created->labels, Contains(Pair("io.kubernetes.pod.uid", pod.uid)));
  EXPECT_TRUE(created->annotations.contains("io.kubernetes.container.hash"));
  node->startContainer(id);
  node->endContainer(id);
  ASSERT_TRUE(listed());
  EXPECT_EQ(listed()->state, State::exited);
  node->removeContainer(id);
  EXPECT_FALSE(listed());
  const auto serving = node->createContainer(pod, "web", Program::serves);
  node->startContainer(serving);
  const auto list = ask(runtime().listContainers());
  ASSERT_TRUE(list && byId(*list, serving) != nullptr);
  EXPECT_EQ(byId(*list, serving)->state, State::running);
}

TEST_P(RuntimeContract, AForeignContainerLacksKubeletsMarks) {
  const auto pod = node->startPod("web-0");
  const auto id = node->createForeignContainer(pod, "web");
  const auto list = ask(runtime().listContainers());
  ASSERT_TRUE(list && byId(*list, id) != nullptr);
  EXPECT_EQ(byId(*list, id)->sandboxId, pod.sandboxId);
  EXPECT_EQ(byId(*list, id)->name, "web");
  const auto stored = ask(runtime().storedContainer(id));
  ASSERT_TRUE(stored) << stored.error().message();
  for (const auto* one : {byId(*list, id), &*stored}) {
    EXPECT_FALSE(one->labels.contains("io.kubernetes.pod.uid"));
    EXPECT_FALSE(one->annotations.contains("io.kubernetes.container.hash"));
  }
}

TEST_P(RuntimeContract, SaysHowAContainerEnded) {
  const auto pod = node->startPod("web-0");
  const std::map<Program, int> codes{{Program::serves, 0}, {Program::fails, ContractNode::kFailure}};
  for (const auto& [program, code] : codes) {
    const auto id = node->createContainer(pod, code == 0 ? "web" : "broken", program);
    const auto before = ask(runtime().exitCode(id));
    ASSERT_TRUE(before) << before.error().message();
    EXPECT_EQ(*before, std::nullopt);
    node->startContainer(id);
    node->endContainer(id);
    const auto after = ask(runtime().exitCode(id));
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_EQ(*after, code);
    node->removeContainer(id);
    const auto removed = ask(runtime().exitCode(id));
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().reason, Reason::not_found);
  }
}

TEST_P(RuntimeContract, TheStoreTellsSandboxesFromContainers) {
  const auto pod = node->startPod("web-0");
  const auto sandbox = ask(runtime().storedContainer(pod.sandboxId));
  ASSERT_TRUE(sandbox) << sandbox.error().message();
  EXPECT_EQ(sandbox->id, pod.sandboxId);
  const cri::Labels ofSandbox{{"io.cri-containerd.kind", "sandbox"},
                              {"io.kubernetes.pod.name", "web-0"},
                              {"io.kubernetes.pod.namespace", "shop"},
                              {"io.kubernetes.pod.uid", pod.uid},
                              {"app", "web-0"}};
  EXPECT_THAT(sandbox->labels, IsSupersetOf(ofSandbox));
  EXPECT_THAT(sandbox->annotations, IsEmpty());

  const auto id = node->createContainer(pod, "web", Program::serves);
  const auto container = ask(runtime().storedContainer(id));
  ASSERT_TRUE(container) << container.error().message();
  EXPECT_EQ(container->id, id);
  EXPECT_EQ(container->sandboxId, pod.sandboxId);
  EXPECT_EQ(container->name, "web");
  EXPECT_THAT(container->imageId, StartsWith("sha256:"));
  EXPECT_THAT(container->labels, Contains(Pair("io.cri-containerd.kind", "container")));
  EXPECT_THAT(container->labels, Contains(Pair("io.kubernetes.pod.uid", pod.uid)));
  EXPECT_TRUE(container->annotations.contains("io.kubernetes.container.hash"));

  const auto nobody = ask(runtime().storedContainer(kNobody));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().reason, Reason::not_found);
}

TEST_P(RuntimeContract, TheStoreHasSandboxesAndContainers) {
  const auto pod = node->startPod("web-0");
  const auto container = node->createContainer(pod, "web", Program::serves);
  const auto both = ask(runtime().storedIds());
  ASSERT_TRUE(both) << both.error().message();
  EXPECT_THAT(*both, IsSupersetOf({pod.sandboxId, container}));
  node->removeContainer(container);
  const auto one = ask(runtime().storedIds());
  ASSERT_TRUE(one) << one.error().message();
  EXPECT_THAT(*one, Contains(pod.sandboxId));
  EXPECT_THAT(*one, Not(Contains(container)));
}

TEST_P(RuntimeContract, KnowsWhichImagesAreThereAndByWhichNames) {
  const auto present = ask(runtime().imagePresent(node->presentImage()));
  ASSERT_TRUE(present) << present.error().message();
  EXPECT_TRUE(*present);
  const auto missing = ask(runtime().imagePresent(node->refusingImage()));
  ASSERT_TRUE(missing) << missing.error().message();
  EXPECT_FALSE(*missing);

  const auto pod = node->startPod("web-0");
  const auto container = ask(runtime().storedContainer(node->createContainer(pod, "web", Program::serves)));
  ASSERT_TRUE(container) << container.error().message();
  const auto tags = ask(runtime().imageTags(container->imageId));
  ASSERT_TRUE(tags) << tags.error().message();
  EXPECT_THAT(*tags, Contains(node->presentImage()));
  const auto references = ask(runtime().imageReferences(container->imageId));
  ASSERT_TRUE(references) << references.error().message();
  EXPECT_THAT(*references, IsSupersetOf(*tags));
  const auto unknown = "sha256:" + std::string(64, 'f');
  EXPECT_THAT(ask(runtime().imageTags(unknown)).value(), IsEmpty());
  EXPECT_THAT(ask(runtime().imageReferences(unknown)).value(), IsEmpty());
}

TEST_P(RuntimeContract, APullBringsTheImage) {
  const auto image = node->pullableImage();
  EXPECT_FALSE(ask(runtime().imagePresent(image)).value());
  const auto outcome = ask(runtime().pull(image, std::nullopt));
  EXPECT_EQ(outcome.kind, cri::PullOutcome::Kind::pulled) << outcome.text;
  EXPECT_EQ(outcome.grpcCode, 0);
  EXPECT_TRUE(ask(runtime().imagePresent(image)).value());
  EXPECT_EQ(ask(runtime().pull(image, std::nullopt)).kind, cri::PullOutcome::Kind::pulled) << "again";
}

TEST_P(RuntimeContract, AFailedPullReportsItsReason) {
  const auto image = node->refusingImage();
  const auto outcome = ask(runtime().pull(image, std::nullopt));
  EXPECT_EQ(outcome.kind, cri::PullOutcome::Kind::failed);
  EXPECT_EQ(outcome.grpcCode, 2);
  EXPECT_THAT(outcome.text, HasSubstr("connect: connection refused"));
  EXPECT_FALSE(ask(runtime().imagePresent(image)).value());
}

TEST_P(RuntimeContract, AHangingPullCanBeCancelledAndDelaysNothing) {
  const auto image = node->silentImage();
  const auto outcome = ask(within(300ms, runtime().pull(image, std::nullopt)));
  EXPECT_FALSE(outcome) << outcome->text;
  EXPECT_FALSE(ask(runtime().imagePresent(image)).value());
  EXPECT_EQ(ask(runtime().pull(node->refusingImage(), std::nullopt)).kind, cri::PullOutcome::Kind::failed);
}

TEST_P(RuntimeContract, ContentIsKnownByTheHostThatItCameFrom) {
  const auto image = node->pullableImage();
  const auto host = image.substr(0, image.find(':'));
  ASSERT_EQ(ask(runtime().pull(image, std::nullopt)).kind, cri::PullOutcome::Kind::pulled);
  const auto contents = ask(runtime().contentsFrom(host));
  ASSERT_TRUE(contents) << contents.error().message();
  ASSERT_THAT(*contents, Not(IsEmpty()));
  for (const auto& one : *contents) {
    EXPECT_THAT(one.digest, StartsWith("sha256:"));
    EXPECT_THAT(one.repositories, Not(IsEmpty()));
  }
  EXPECT_TRUE(std::any_of(contents->begin(), contents->end(), [](const auto& one) {
    return !one.children.empty();
  })) << "a manifest refers to what is below it";
  const auto elsewhere = ask(runtime().contentsFrom("elsewhere.invalid"));
  ASSERT_TRUE(elsewhere) << elsewhere.error().message();
  EXPECT_THAT(*elsewhere, IsEmpty());
}

TEST_P(RuntimeContract, WithoutADownloadThereAreNoIngests) {
  const auto ingests = ask(runtime().ingests());
  ASSERT_TRUE(ingests) << ingests.error().message();
  EXPECT_THAT(*ingests, IsEmpty());
}

TEST_P(RuntimeContract, NamesThePauseImage) {
  const auto image = ask(runtime().sandboxImage());
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(*image, node->pauseImage());
}

template <class T>
std::string reasonOf(const Result<T>& answer) {
  return answer ? "an answer" : std::string(toString(answer.error().reason));
}

TEST_P(RuntimeContract, EveryCallReportsThatTheRuntimeIsAway) {
  const auto pod = node->startPod("web-0");
  const auto id = node->createContainer(pod, "web", Program::serves);
  node->kill();
  const std::string away(toString(Reason::unavailable));
  EXPECT_EQ(reasonOf(ask(runtime().version())), away);
  EXPECT_EQ(reasonOf(ask(runtime().listSandboxes())), away);
  EXPECT_EQ(reasonOf(ask(runtime().listContainers())), away);
  EXPECT_EQ(reasonOf(ask(runtime().sandboxStatus(pod.sandboxId))), away);
  EXPECT_EQ(reasonOf(ask(runtime().imagePresent(node->presentImage()))), away);
  EXPECT_EQ(reasonOf(ask(runtime().imageTags("sha256:" + kNobody))), away);
  EXPECT_EQ(reasonOf(ask(runtime().imageReferences("sha256:" + kNobody))), away);
  EXPECT_EQ(reasonOf(ask(runtime().storedContainer(id))), away);
  EXPECT_EQ(reasonOf(ask(runtime().storedIds())), away);
  EXPECT_EQ(reasonOf(ask(runtime().exitCode(id))), away);
  EXPECT_EQ(reasonOf(ask(runtime().sandboxImage())), away);
  EXPECT_EQ(reasonOf(ask(runtime().contentsFrom("elsewhere.invalid"))), away);
  EXPECT_EQ(reasonOf(ask(runtime().ingests())), away);
  const auto outcome = ask(runtime().pull(node->refusingImage(), std::nullopt));
  EXPECT_EQ(outcome.kind, cri::PullOutcome::Kind::failed);
  EXPECT_EQ(outcome.grpcCode, 14) << outcome.text;
}

TEST_P(RuntimeContract, ARestartedRuntimeKnowsWhatItKnewBefore) {
  const auto pod = node->startPod("web-0");
  const auto id = node->createContainer(pod, "web", Program::serves);
  node->kill();
  node->restart();
  std::optional<Result<cri::SandboxStatus>> status;
  // It listens before it can answer; a caller retries.
  for (int attempt = 0; attempt < 100 && !(status && *status); ++attempt) {
    if (attempt > 0) pause();
    status = ask(runtime().sandboxStatus(pod.sandboxId));
  }
  ASSERT_TRUE(status && *status);
  EXPECT_TRUE((*status)->sandbox.ready);
  const auto list = ask(runtime().listContainers());
  ASSERT_TRUE(list) << list.error().message();
  EXPECT_NE(byId(*list, id), nullptr);
}

}  // namespace
}  // namespace fallbackd::test
