// SPDX-License-Identifier: Apache-2.0
// The health check that precedes every start.
#include "launch_fixture.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class Health : public LaunchTest {
 protected:
  launcher::LaunchRequest withCheck(const std::string& check) {
    auto wanted = request({"wait"});
    wanted.workload.healthCheck.args = {check};
    return wanted;
  }
  [[nodiscard]] std::string logOf(const launcher::LaunchRequest& wanted) const {
    return contentOf(wanted.sandbox.logDirectory + "/" + wanted.workload.match.container + "-fallback/0.log");
  }
};

TEST_F(Health, RunsAsTheWorkloadsUserInTheSamePidNamespace) {
  auto wanted = withCheck("--health-check=who");
  wanted.workload.user.uid = 4321;
  const auto process = launched(wanted);
  ASSERT_NE(process, nullptr);
  EXPECT_THAT(logWith(process, "health pid"), HasSubstr("health pid 2 uid 4321"));
  const auto& times = process->times();
  EXPECT_LT(times.requested, times.prepared);
  EXPECT_LT(times.prepared, times.healthChecked);
  EXPECT_LE(times.healthChecked, times.started);
  stop(process);
}

TEST_F(Health, ExitCodeFailsTheLaunchAndItsOutputIsLogged) {
  const auto wanted = withCheck("--health-check=fail");
  const auto process = launch(wanted);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::health_check);
  EXPECT_EQ(process.error().reason, Reason::unhealthy);
  EXPECT_THAT(process.error().message(), HasSubstr("exit code 7"));
  EXPECT_THAT(logOf(wanted), HasSubstr("stdout F not healthy today"));
}

TEST_F(Health, SignalFailsTheLaunch) {
  const auto process = launch(withCheck("--health-check=crash"));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().reason, Reason::unhealthy);
  EXPECT_THAT(process.error().message(), HasSubstr("signal 6"));
}

TEST_F(Health, AHangingCheckIsKilledInTime) {
  auto wanted = withCheck("--health-check=hang");
  wanted.workload.healthCheck.timeout = 200ms;
  const auto began = Monotonic::now();
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::health_check);
  EXPECT_EQ(process.error().reason, Reason::timeout);
  EXPECT_GE(Monotonic::now() - began, 200ms);
  EXPECT_LT(Monotonic::now() - began, 5s);
}

TEST_F(Health, ADaemonLeftBehindIsKilledBeforeTheStart) {
  const auto process = launched(withCheck("--health-check=daemon"));
  ASSERT_NE(process, nullptr);
  logWith(process, "daemon left behind");  // the daemon did run
  const auto children = contentOf("/proc/" + std::to_string(process->record().pid) + "/task/" +
                                  std::to_string(process->record().pid) + "/children");
  EXPECT_EQ(children, "");
  const auto members = contentOf(process->record().cgroupLeaves.front() + "/cgroup.procs");
  EXPECT_EQ(members, std::to_string(process->record().pid) + "\n");
  stop(process);
}

TEST_F(Health, AnUnexecutableFileIsReported) {
  for (const auto& content : {std::string("\x7f"
                                          "ELF, but not really"),
                              std::string("#!/bin/sh\nexit 0\n")}) {
    auto wanted = withCheck("--health-check");
    auto file = std::make_shared<sys::UniqueFd>(::memfd_create("bad", MFD_CLOEXEC));
    ASSERT_EQ(::write(file->get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    wanted.executable = file;
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process);
    EXPECT_EQ(process.error().stage, Stage::exec) << process.error().message();
    EXPECT_NE(process.error().errnum, 0);
  }
}

}  // namespace fallbackd::test
