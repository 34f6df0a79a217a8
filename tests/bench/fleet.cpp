// SPDX-License-Identifier: Apache-2.0
#include "fleet.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"

#include <atomic>
#include <charconv>
#include <mutex>
#include <optional>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::bench {

using namespace fallbackd::e2e;

namespace {

constexpr int kAtOnce = 4;

/// Runs `work(i)` for all, several at the same time; returns the first error, if any.
Result<> inParallel(std::size_t count, const std::function<Result<>(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<Error> failed;
  std::vector<std::thread> threads;
  threads.reserve(kAtOnce);
  for (int i = 0; i < kAtOnce; ++i) {
    threads.emplace_back([&] {
      for (std::size_t index = next++; index < count; index = next++) {
        const auto done = work(index);
        if (done) continue;
        const std::lock_guard lock(mutex);
        if (!failed) failed = done.error();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (failed) return tl::unexpected<Error>(*failed);
  return {};
}

Result<std::string> ofProcess(pid_t pid, const std::string& file) {
  return sys::readFile(Stage::cli, "/proc/" + std::to_string(pid) + "/" + file, 1 << 16);
}

double number(std::string_view text) {
  double value = 0;
  text = trim(text);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// The value of a line "KEY:  VALUE kB" of /proc/PID/status, in MiB.
double mebibytes(const std::string& status, const std::string& key) {
  const auto at = status.find("\n" + key + ":");
  return at == std::string::npos ? 0 : number(std::string_view(status).substr(at + key.size() + 2)) / 1024;
}

/// The spawner, which is a child process. Every thread of a process has its own list of children.
Result<std::optional<pid_t>> spawnerOf(pid_t daemon) {
  const auto tasks = "/proc/" + std::to_string(daemon) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    FB_TRY(const auto children, sys::readFile(Stage::cli, task.path() / "children", 1 << 16));
    for (const auto child : split(children, ' ')) {
      const auto pid = static_cast<pid_t>(number(child));
      if (pid == 0) continue;
      FB_TRY(const auto name, ofProcess(pid, "comm"));
      if (name.starts_with("fallbackd-spawn")) return pid;
    }
  }
  return std::nullopt;
}

Result<> addUsage(pid_t pid, Usage& usage) {
  FB_TRY(const auto stat, ofProcess(pid, "stat"));
  FB_TRY(const auto status, ofProcess(pid, "status"));
  // The fields follow the name, which may contain anything: state is field 3, utime 14, stime 15.
  const auto fields = split(std::string_view(stat).substr(stat.rfind(')') + 2), ' ');
  usage.cpuSeconds +=
      (number(fields.at(11)) + number(fields.at(12))) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  usage.residentMiB += mebibytes(status, "VmRSS");
  usage.peakMiB += mebibytes(status, "VmHWM");
  return {};
}

}  // namespace

Result<std::vector<Pod>> startPods(Kubelet& kubelet, const std::vector<PodSpec>& specs,
                                   const std::function<Result<>(const Pod&)>& then) {
  std::vector<Pod> pods(specs.size());
  FB_CHECK(inParallel(specs.size(), [&](std::size_t i) -> Result<> {
    FB_TRY(pods[i], kubelet.startPod(specs[i]));
    return then(pods[i]);
  }));
  return pods;
}

Result<> removePods(Kubelet& kubelet, const std::vector<Pod>& pods) {
  return inParallel(pods.size(), [&](std::size_t i) { return kubelet.removePod(pods[i]); });
}

Result<Usage> usageOf(pid_t daemon) {
  Usage usage;
  FB_CHECK(addUsage(daemon, usage));
  FB_TRY(const auto spawner, spawnerOf(daemon));
  if (!spawner) return fail(Stage::cli, Reason::not_found, "the daemon has no spawner");
  FB_CHECK(addUsage(*spawner, usage));
  return usage;
}

Result<std::vector<std::string>> recoveredPods(const Daemon& daemon) {
  FB_TRY(const auto answer, httpGet("127.0.0.1", daemon.telemetryPort(), "/status"));
  const auto root = boost::json::parse(answer.body);
  std::vector<std::string> names;
  for (const auto& one : root.at("recoveries").as_array()) names.emplace_back(one.at("pod").as_string());
  return names;
}

}  // namespace fallbackd::bench
