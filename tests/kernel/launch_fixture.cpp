// SPDX-License-Identifier: Apache-2.0
#include "launch_fixture.hpp"

#include "cache/sealed.hpp"
#include "cri_log_lines.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>

namespace fallbackd::test {

using namespace std::chrono_literals;

namespace {

constexpr auto kPatience = 20s;

}  // namespace

std::shared_ptr<sys::UniqueFd> sealedCopy(const std::filesystem::path& program) {
  const sys::UniqueFd source(::open(program.c_str(), O_RDONLY | O_CLOEXEC));
  auto copy = cache::SealedCopy::make(source, std::filesystem::file_size(program), "program");
  if (!copy) throw std::runtime_error(copy.error().message());
  return std::make_shared<sys::UniqueFd>(copy->takeFd());
}

void writeText(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

ProbeOutput::ProbeOutput(const std::string& criLog) {
  for (const auto& line : criLogLines(criLog)) {
    const auto space = line.find(' ');
    values_[line.substr(0, space)].push_back(space == std::string::npos ? "" : line.substr(space + 1));
  }
}

std::string ProbeOutput::one(const std::string& key) const {
  const auto values = all(key);
  EXPECT_EQ(values.size(), 1U) << key;
  return values.empty() ? "0" : values.front();
}

std::vector<std::string> ProbeOutput::all(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::string ProbeOutput::status(const std::string& field) const {
  for (const auto& line : all("status")) {
    if (line.starts_with(field + ":"))
      return std::string(trim(std::string_view(line).substr(field.size() + 1)));
  }
  ADD_FAILURE() << "no field " << field;
  return {};
}

void LaunchTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: namespaces, cgroups, mounts";
  const asio::steady_timer timer(loop);  // makes the loop open its own descriptors
  before_ = traces();
  std::string pattern = std::filesystem::temp_directory_path() / "k.XXXXXX";
  folder = ::mkdtemp(pattern.data());
  auto found = sys::cgroupHierarchies();
  ASSERT_TRUE(found) << found.error().message();
  hierarchies = std::move(*found);
  sandbox = std::make_unique<FakeSandbox>(folder, hierarchies);
  probe = sealedCopy(FALLBACKD_TEST_PROBE);
  launcherWith(options());
}

void LaunchTest::TearDown() {
  if (folder.empty()) return;
  launcher.reset();
  loop.restart();
  loop.poll();  // cancelled coroutines end here
  std::vector<std::string> left;
  if (sandbox != nullptr) {
    for (const auto& path : sandbox->cgroups()) {
      for (const auto& entry : std::filesystem::directory_iterator(path)) {
        const bool ownOfSandbox = entry.path().filename() == sandbox->status().sandbox.id;
        if (entry.is_directory() && !ownOfSandbox) left.push_back(entry.path());
      }
    }
  }
  EXPECT_EQ(left, std::vector<std::string>{}) << "cgroup leaves left behind";
  sandbox.reset();
  probe.reset();
  std::filesystem::remove_all(folder);
  const auto after = traces();
  EXPECT_EQ(after.fds, before_.fds) << "descriptors";
  EXPECT_EQ(after.mounts, before_.mounts) << "mounts";
  EXPECT_EQ(after.children, before_.children) << "child processes";
}

LaunchTest::Traces LaunchTest::traces() {
  Traces now;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(entry);
    ++now.fds;
  }
  now.mounts = contentOf("/proc/self/mountinfo");
  std::istringstream children(contentOf("/proc/self/task/" + std::to_string(::getpid()) + "/children"));
  for (int pid = 0; children >> pid;) now.children.push_back(pid);
  return now;
}

launcher::LocalLauncher::Options LaunchTest::options() const {
  launcher::LocalLauncher::Options given;
  given.runDir = folder / "run";
  given.kubeletPods = folder / "pods";
  given.logLinks = folder / "log-links";
  given.spawnerProgram = FALLBACKD_TEST_SPAWNER;
  given.cgroups = hierarchies;
  return given;
}

launcher::LaunchRequest LaunchTest::request(std::vector<std::string> args) {
  launcher::LaunchRequest wanted;
  const std::string number = std::to_string(++counter_);
  wanted.recoveryId = "r" + number;
  wanted.executable = probe;
  wanted.sandbox = sandbox->status();
  wanted.nodeName = "node-1";
  wanted.workload.name = "shop";
  wanted.workload.match.container = "app" + number;
  wanted.workload.binary = {"probe", "1.0.0"};
  wanted.workload.args = std::move(args);
  // The default of 2 s is too short on emulated processors that are busy with attackers.
  wanted.workload.healthCheck.timeout = std::chrono::seconds(60);
  return wanted;
}

void LaunchTest::launcherWith(const launcher::LocalLauncher::Options& given) {
  launcher = std::make_unique<launcher::LocalLauncher>(loop.get_executor(), given,
                                                       launcher::LocalLauncher::VerifyPause{});
  const auto started = launcher->start();
  ASSERT_TRUE(started) << started.error().message();
}

Error LaunchTest::refusal(launcher::LaunchRequest wanted) {
  auto process = launch(std::move(wanted));
  EXPECT_FALSE(process);
  if (!process) return process.error();
  stop(*process);
  return {Stage::run, Reason::internal, 0, "it was launched"};
}

ProcessPtr LaunchTest::launched(launcher::LaunchRequest wanted) {
  auto process = launch(std::move(wanted));
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return nullptr;
  }
  return std::move(*process);
}

std::string LaunchTest::logWith(const ProcessPtr& process, const std::string& text) {
  const auto& path = process->record().logFile;
  const auto deadline = Monotonic::now() + kPatience;
  asio::steady_timer tick(loop);
  for (;;) {
    const std::string log = contentOf(path);
    if (log.find(text) != std::string::npos) return log;
    if (Monotonic::now() > deadline) {
      ADD_FAILURE() << "no " << text << " in " << path << ":\n" << log;
      return log;
    }
    // The pump that writes the file runs on this loop.
    loop.run_one_for(100ms);
  }
}

ProbeOutput LaunchTest::reportOf(launcher::LaunchRequest wanted) {
  const auto process = launched(std::move(wanted));
  if (process == nullptr) return ProbeOutput("");
  ProbeOutput output(logWith(process, " F end\n"));
  stop(process);
  return output;
}

std::filesystem::path LaunchTest::makeVolume(const std::string& kind, const std::string& name) {
  const auto path =
      folder / "pods" / sandbox->status().sandbox.podUid / "volumes" / ("kubernetes.io~" + kind) / name;
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace fallbackd::test
