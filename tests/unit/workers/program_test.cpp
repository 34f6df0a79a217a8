// SPDX-License-Identifier: Apache-2.0
// A worker runs real programs, which are short shell scripts.
#include "workers/program.hpp"

#include "base/clock.hpp"
#include "temp_folder.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::workers {
namespace {

using namespace std::chrono_literals;

constexpr auto kCeiling = 20s;

struct ProgramTest : testing::Test {
  Program make(const std::string& script) const {
    const auto file = folder.write("program", "#!/bin/sh\n" + script);
    EXPECT_EQ(::chmod(file.c_str(), 0755), 0);
    return {folder.path(), "program", {}, {"PATH=/usr/bin:/bin"}, "the request", 20s, 64 * 1024};
  }
  static Result<std::string> run(const Program& program) {
    Task task;
    ask(task, program);
    EXPECT_EQ(task.work, Work::run_program);
    return runProgram(task.bytes);
  }
  static Reason reasonOf(const Result<std::string>& outcome) {
    return outcome ? Reason::internal : outcome.error().reason;
  }
  test::TempFolder folder;
};

TEST_F(ProgramTest, ReadsItsInputAndReturnsItsOutput) {
  EXPECT_EQ(run(make("cat; printf ', answered'")).value(), "the request, answered");
}

TEST_F(ProgramTest, AnInputMayContainAnything) {
  auto program = make("cat");
  program.input = std::string("a\0b\n", 4) + std::string(60'000, 'x');
  EXPECT_EQ(run(program).value(), program.input);
}

TEST_F(ProgramTest, HasOnlyTheGivenArgumentsAndEnvironment) {
  ASSERT_EQ(::setenv("SECRET_OF_THE_DAEMON", "x", 1), 0);
  auto program = make("echo \"$#|$1|$2\"; env | grep -v -E '^(PWD|_|SHLVL|OLDPWD)=' | sort; pwd");
  program.args = {"one arg", ""};
  program.env.emplace_back("A=b c");
  EXPECT_EQ(run(program).value(), "2|one arg|\nA=b c\nPATH=/usr/bin:/bin\n/\n");
  ::unsetenv("SECRET_OF_THE_DAEMON");
}

TEST_F(ProgramTest, InheritsNoDescriptorAndHasItsOwnSession) {
  const sys::UniqueFd leak(::dup(2));  // not CLOEXEC
  const auto outcome = run(make("ls /proc/$$/fd; cut -d' ' -f6 /proc/$$/stat; echo $$"));
  ASSERT_TRUE(outcome) << outcome.error().message();
  // Descriptor 10 is the shell's own: its script.
  const std::string descriptors = "0\n1\n10\n2\n";
  ASSERT_TRUE(outcome->starts_with(descriptors)) << *outcome;
  EXPECT_TRUE(leak.valid());
  const auto numbers = outcome->substr(descriptors.size());
  const auto end = numbers.find('\n');
  EXPECT_EQ(numbers.substr(0, end + 1), numbers.substr(end + 1)) << *outcome;
}

TEST_F(ProgramTest, IsTheFirstOomVictimAndLeavesNoCore) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &before), 0);
  const rlimit allowed{before.rlim_max, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_CORE, &allowed), 0);
  EXPECT_EQ(run(make("cat /proc/$$/oom_score_adj; ulimit -c")).value(), "1000\n0\n");
  EXPECT_EQ(::setrlimit(RLIMIT_CORE, &before), 0);
}

TEST_F(ProgramTest, EndsWithTheWorkerThatRunsIt) {
  const auto file = folder.path() + "/pid";
  const auto program = make("echo $$ >" + file + ".new; mv " + file + ".new " + file + "; exec sleep 1000");
  const pid_t worker = ::fork();
  if (worker == 0) {
    static_cast<void>(run(program));
    ::_exit(0);
  }
  const auto begun = Clock::system().now();
  const auto passed = [&] { return Clock::system().now() - begun; };
  while (!std::filesystem::exists(file) && passed() < kCeiling) Clock::system().sleep(5ms);
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  ASSERT_GT(pid, 0);
  ::kill(worker, SIGKILL);
  ::waitpid(worker, nullptr, 0);
  const auto ended = [&] {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string number, name, state;
    return !(stat >> number >> name >> state) || state == "Z";
  };
  while (!ended() && passed() < kCeiling) Clock::system().sleep(5ms);
  EXPECT_TRUE(ended());
}

TEST_F(ProgramTest, AFailureSaysWhy) {
  const auto outcome = run(make("echo 'no metadata server' >&2; exit 3"));
  EXPECT_EQ(reasonOf(outcome), Reason::exited);
  EXPECT_EQ(outcome.error().context, "program exited with 3: \"no metadata server\"");
  EXPECT_EQ(reasonOf(run(make("kill -SEGV $$"))), Reason::signaled);
}

TEST_F(ProgramTest, AFloodOfErrorsIsTruncated) {
  const auto outcome =
      run(make("i=0; while [ $i -lt 3000 ]; do echo 0123456789 >&2; i=$((i+1)); done; exit 1"));
  EXPECT_EQ(reasonOf(outcome), Reason::exited);
  EXPECT_LT(outcome.error().context.size(), 2000U);
}

TEST_F(ProgramTest, TooMuchOutputEndsIt) {
  EXPECT_EQ(reasonOf(run(make("exec cat /dev/zero"))), Reason::too_large);
}

TEST_F(ProgramTest, ExactlyTheLimitIsNotTooMuch) {
  auto program = make("printf 12345678");
  program.maxOutput = 8;
  EXPECT_EQ(run(program).value(), "12345678");
  program.maxOutput = 7;
  EXPECT_EQ(reasonOf(run(program)), Reason::too_large);
}

TEST_F(ProgramTest, AHangingOneIsKilledWithAllItsChildren) {
  const auto pids = folder.path() + "/pids";
  auto program = make("sleep 1000 & echo $! >" + pids + "; trap '' TERM; sleep 1000");
  program.limit = 300ms;
  const auto begun = Clock::system().now();
  EXPECT_EQ(reasonOf(run(program)), Reason::timeout);
  EXPECT_LT(Clock::system().now() - begun, kCeiling);
  pid_t child = 0;
  std::ifstream(pids) >> child;
  ASSERT_GT(child, 0);
  // Init, or a different process that adopts it, reaps it.
  const auto ended = [&] {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string number, name, state;
    return !(stat >> number >> name >> state) || state == "Z";
  };
  while (!ended() && Clock::system().now() - begun < kCeiling) Clock::system().sleep(5ms);
  EXPECT_TRUE(ended());
}

TEST_F(ProgramTest, AChildThatKeepsTheOutputOpenDoesNotDelayUs) {
  auto program = make("sleep 1000 & printf done");
  const auto begun = Clock::system().now();
  EXPECT_EQ(run(program).value(), "done");
  EXPECT_LT(Clock::system().now() - begun, 10s);
}

TEST_F(ProgramTest, AnUnexecutableProgramIsNamed) {
  auto program = make("");
  program.name = "other";
  EXPECT_EQ(reasonOf(run(program)), Reason::not_found);
  program = make("");
  ASSERT_EQ(::chmod((folder.path() + "/program").c_str(), 0644), 0);
  const auto outcome = run(program);
  EXPECT_EQ(reasonOf(outcome), Reason::exited);
  EXPECT_NE(outcome.error().context.find("Permission denied"), std::string::npos) << outcome.error().context;
}

TEST_F(ProgramTest, AProgramThatOthersCanWriteIsNotRun) {
  auto program = make("printf bad");
  const auto file = folder.path() + "/program";
  ASSERT_EQ(::chmod(file.c_str(), 0777), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
  ASSERT_EQ(::chmod(file.c_str(), 0755), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0777), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0700), 0);
  ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0) << "these tests run as root";
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
  ASSERT_TRUE(std::filesystem::remove(file));
  ASSERT_TRUE(std::filesystem::create_directory(file));
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_file_type);
}

TEST_F(ProgramTest, AProgramThatOthersCanReplaceIsNotRun) {
  auto program = make("printf good");
  const auto top = folder.path();
  const auto home = top + "/home";
  ASSERT_TRUE(std::filesystem::create_directories(home + "/bin"));
  std::filesystem::rename(top + "/program", home + "/bin/program");
  program.folder = home + "/bin";
  EXPECT_EQ(run(program).value_or(""), "good");
  ASSERT_EQ(::chown(home.c_str(), 65534, 65534), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner) << "the folder's owner can rename bin";
  // Nor through a link.
  std::filesystem::create_symlink(home + "/bin", top + "/bin");
  program.folder = top + "/bin";
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
  ASSERT_EQ(::chown(home.c_str(), 0, 0), 0);
  EXPECT_EQ(run(program).value_or(""), "good");
  ASSERT_EQ(::chmod(home.c_str(), 0777), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
  ASSERT_EQ(::chmod(home.c_str(), 01777), 0);
  EXPECT_EQ(run(program).value_or(""), "good") << "in a sticky folder only root can rename root's files";
  ASSERT_EQ(::lchown((top + "/bin").c_str(), 65534, 65534), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner) << "the link belongs to a different user";
}

TEST_F(ProgramTest, ALinkToItselfEnds) {
  auto program = make("printf good");
  std::filesystem::create_symlink("loop", folder.path() + "/loop");
  program.folder = folder.path() + "/loop";
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_path);
}

/// The file decides with which arguments and environment (LD_PRELOAD) the program runs.
TEST_F(ProgramTest, AFileThatOthersCanWriteIsIgnored) {
  auto program = make("printf good");
  program.config = folder.write("config.yaml", "kind: CredentialProviderConfig");
  EXPECT_EQ(run(program).value_or(""), "good");
  ASSERT_EQ(::chmod(program.config.c_str(), 0666), 0);
  EXPECT_EQ(reasonOf(run(program)), Reason::unsafe_owner);
}

TEST(Program, InvalidRequestsAreRefused) {
  using namespace std::string_literals;
  for (const auto& text : {""s, "a"s, "a\0b\0"s, "a\0b\0009\0x\0"s, "a\0b\0x\0"s, "a\0b\0000\0000\0001\0"s,
                           "a\0b\0004294967295\0"s, "a\0\0000\0000\0001\0001\0\0"s}) {
    const auto outcome = runProgram(text);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().reason, Reason::protocol);
  }
}

}  // namespace
}  // namespace fallbackd::workers
