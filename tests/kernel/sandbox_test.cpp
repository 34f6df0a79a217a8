// Which sandboxes are joined, and which are not.
#include "launch_fixture.hpp"

#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

class SandboxGate : public LaunchTest {
 protected:
  void launcherAsking(std::function<Result<pid_t>()> answer) {
    launcher = std::make_unique<launcher::LocalLauncher>(
        loop.get_executor(), options(),
        [answer = std::move(answer)](std::string) -> asio::awaitable<Result<pid_t>> { co_return answer(); });
    ASSERT_TRUE(launcher->start());
  }
  void replaceSandbox(FakeSandbox::Shape shape) {
    sandbox = std::make_unique<FakeSandbox>(folder, hierarchies, shape);
  }
  Error refusal(launcher::LaunchRequest wanted) {
    auto process = launch(std::move(wanted));
    EXPECT_FALSE(process);
    if (!process) return process.error();
    stop(*process);
    return {Stage::run, Reason::internal, 0, "it was launched"};
  }
};

TEST_F(SandboxGate, TheRuntimesWordIsAsked) {
  launcherAsking([this] { return sandbox->pause(); });
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  stop(process);
}

TEST_F(SandboxGate, AnotherPauseProcessIsASandboxThatChanged) {
  launcherAsking([this] { return sandbox->pause() + 1; });
  const auto error = refusal(request({"wait"}));
  EXPECT_EQ(error.stage, Stage::sandbox);
  EXPECT_EQ(error.reason, Reason::sandbox_changed);
}

TEST_F(SandboxGate, AFailedQuestionIsASandboxThatChanged) {
  launcherAsking(
      []() -> Result<pid_t> { return fail(Stage::containerd, Reason::not_found, "no such sandbox"); });
  EXPECT_EQ(refusal(request({"wait"})).reason, Reason::sandbox_changed);
}

TEST_F(SandboxGate, ADeadPauseProcessIsNotJoined) {
  const auto wanted = request({"wait"});
  sandbox->killPause();
  const auto error = refusal(wanted);
  EXPECT_EQ(error.stage, Stage::sandbox);
  EXPECT_EQ(error.reason, Reason::sandbox_gone);
}

TEST_F(SandboxGate, TheHostsNamespacesAreNotJoined) {
  replaceSandbox({.hostNetwork = true});
  auto wanted = request({"wait"});
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);  // asked for, but not allowed
  wanted.sandbox.network = cri::NamespaceMode::pod;           // hidden
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
  wanted.sandbox.pausePid = 1;
  EXPECT_EQ(refusal(wanted).reason, Reason::sandbox_gone);
  replaceSandbox({.hostIpc = true});
  wanted = request({"wait"});
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
  wanted.sandbox.ipc = cri::NamespaceMode::pod;
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
}

TEST_F(SandboxGate, HostNetworkWhereBothPodAndConfigurationSaySo) {
  replaceSandbox({.hostNetwork = true});
  auto allowing = options();
  allowing.allowHostNetwork = true;
  launcher = std::make_unique<launcher::LocalLauncher>(loop.get_executor(), allowing,
                                                       launcher::LocalLauncher::VerifyPause{});
  ASSERT_TRUE(launcher->start());
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(seen.one("ns.net"), namespaceLink(::getpid(), "net"));
  EXPECT_NE(seen.one("ns.ipc"), namespaceLink(::getpid(), "ipc"));
  auto wanted = request({"wait"});
  wanted.sandbox.network = cri::NamespaceMode::pod;  // CRI says otherwise: something is wrong
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
}

TEST_F(SandboxGate, AUserNamespaceIsRefused) {
  replaceSandbox({.userNamespace = true});
  const auto error = refusal(request({"wait"}));
  EXPECT_EQ(error.stage, Stage::sandbox);
  EXPECT_EQ(error.reason, Reason::not_permitted);
}

}  // namespace fallbackd::test
