// SPDX-License-Identifier: Apache-2.0
// The daemon believes the spawner only if the kernel agrees: whatever it reports, no process outside the
// launch's own leaf is adopted or killed.
#include "launch_fixture.hpp"

#include <csignal>
#include <sstream>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::test {

using namespace std::chrono_literals;

namespace {

pid_t makeBystander() {
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    for (;;) ::pause();
  }
  return pid;
}

bool endsNow(pid_t child) {
  return ::waitpid(child, nullptr, WNOHANG) == child;
}

void endChild(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

}  // namespace

class Liar : public LaunchTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Liar, IsNotBelieved) {
  if (folder.empty()) return;
  RecordProperty("item", "2");
  RecordProperty("attack", std::string("A report names a process that is not the launch's: ") + GetParam());
  auto with = options();
  with.spawnerProgram = folder / (std::string("spawner-liar-") + GetParam());
  std::filesystem::copy_file(FALLBACKD_TEST_SPAWNERS "/spawner-liar", with.spawnerProgram);
  launcherWith(with);
  std::optional<Result<ProcessPtr>> outcome;
  pid_t bystander = 0;
  bool lived = false;
  asio::co_spawn(loop, launcher->launch(request({"wait"})),
                 [&](std::exception_ptr, Result<ProcessPtr> result) { outcome.emplace(std::move(result)); });
  for (const auto deadline = Monotonic::now() + 60s; !outcome && Monotonic::now() < deadline;) {
    const std::string spawner = std::to_string(launcher->spawner().pid());
    std::istringstream list(contentOf("/proc/" + spawner + "/task/" + spawner + "/children"));
    if (pid_t pid = 0; list >> pid) bystander = pid;
    loop.run_one_for(5ms);
  }
  ASSERT_TRUE(outcome);
  ASSERT_FALSE(*outcome) << "a process outside the leaf was taken for the fallback";
  EXPECT_EQ(outcome->error().stage, Stage::spawner) << outcome->error().message();
  lived = GetParam() != std::string("foreign") || (bystander > 0 && ::kill(bystander, 0) == 0);
  EXPECT_TRUE(lived) << "the daemon killed a process that is not its child";
}

INSTANTIATE_TEST_SUITE_P(Lies, Liar,
                         ::testing::Values("foreign", "number", "no-pidfd", "no-process", "spare-again",
                                           "noise"),
                         [](const auto& lie) {
                           std::string name = lie.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class ForeignProcess : public LaunchTest {};

TEST_F(ForeignProcess, IsNotAdoptedEvenIfPidAndStartTimeMatch) {
  RecordProperty("item", "2");
  RecordProperty("attack", "A journal entry names an unrelated process of root, with its true start time");
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  auto record = process->record();
  const pid_t bystander = makeBystander();
  record.pid = bystander;
  record.startTime = sys::startTimeOf(Stage::run, bystander).value_or(0);
  record.namespaces.clear();
  auto adopted = run(launcher->adopt(record));
  EXPECT_FALSE(adopted);
  if (adopted) stop(*adopted);
  EXPECT_FALSE(endsNow(bystander)) << "it was killed";
  endChild(bystander);
  run(process->exited());  // that record's leftovers are our own
  stop(process);
}

TEST_F(ForeignProcess, InOtherNamespacesIsNotAdopted) {
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  auto record = process->record();
  ASSERT_EQ(record.namespaces.size(), 4U);
  record.namespaces[1] = "net:[1]";
  EXPECT_FALSE(run(launcher->adopt(record)));
  stop(process);
}

TEST_F(ForeignProcess, ThatLeftTheLeafIsNotSignalled) {
  RecordProperty("item", "2");
  RecordProperty("attack", "Hand-back of a recovery after its process has left the leaf");
  auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const pid_t pid = process->record().pid;
  const sys::PidFd held(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  for (const auto& cgroup : sandbox->cgroups()) writeText(cgroup + "/cgroup.procs", std::to_string(pid));
  bool over = false;
  asio::co_spawn(loop, process->stop(10ms), [&](std::exception_ptr, launcher::ExitStatus) { over = true; });
  for (const auto deadline = Monotonic::now() + 1s; !over && Monotonic::now() < deadline;) {
    loop.run_one_for(20ms);
  }
  EXPECT_FALSE(over) << "it must not wait for a process that it may not end";
  EXPECT_FALSE(sys::hasEnded(Stage::cli, held).value_or(true));
  ::kill(pid, SIGKILL);
  while (!over) loop.run_one();
}

}  // namespace fallbackd::test
