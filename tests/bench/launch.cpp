// What isolation costs: health check and start of one program by the launcher, beside two bare posix_spawns
// of it, taken in turns in one run. Usage: launch_bench [ROUNDS]. Needs root.
#include "fake_sandbox.hpp"
#include "launcher/local_launcher.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

namespace asio = boost::asio;
using namespace fallbackd;

namespace {

const char* const kProgram = FALLBACKD_TEST_PROBE;

pid_t spawn(const char* argument) {
  std::string name = "probe";
  std::string text = argument;
  char* argv[] = {name.data(), text.data(), nullptr};
  char* env[] = {nullptr};
  pid_t pid = 0;
  if (::posix_spawn(&pid, kProgram, nullptr, nullptr, argv, env) != 0) std::exit(1);
  return pid;
}

/// Milliseconds of a bare health check and start.
double bare() {
  const auto began = Monotonic::now();
  ::waitpid(spawn("--health-check"), nullptr, 0);
  const pid_t pid = spawn("wait");
  const double took = toMillis(Monotonic::now() - began);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return took;
}

template <class T>
T run(asio::io_context& loop, asio::awaitable<T> task) {
  std::optional<T> result;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
    if (error) std::terminate();
    result.emplace(std::move(value));
  });
  while (!result) loop.run_one();
  return std::move(*result);
}

sys::UniqueFd sealedProgram() {
  const sys::UniqueFd source(::open(kProgram, O_RDONLY | O_CLOEXEC));
  sys::UniqueFd copy(::memfd_create("probe", MFD_CLOEXEC));
  while (::sendfile(copy.get(), source.get(), nullptr, 1 << 20) > 0) {
  }
  return copy;
}

struct Series {
  std::vector<double> values;
  double at(double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  }
  void print(const char* name) {
    std::printf("%-28s p50 %7.3f ms   p90 %7.3f ms   p99 %7.3f ms\n", name, at(0.5), at(0.9), at(0.99));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  std::string folder = "/tmp/fallbackd-bench-XXXXXX";
  if (::geteuid() != 0 || ::mkdtemp(folder.data()) == nullptr) return 1;
  asio::io_context loop{1};
  auto hierarchies = sys::cgroupHierarchies();
  if (!hierarchies) return 1;
  Series spawns;
  Series launches;
  Series prepared;
  Series checked;
  Series started;
  {
    const test::FakeSandbox sandbox(folder, *hierarchies);
    launcher::LocalLauncher::Options options;
    options.runDir = folder + "/run";
    options.spawnerProgram = FALLBACKD_TEST_SPAWNER;
    launcher::LocalLauncher launcher(loop.get_executor(), options, {});
    if (!launcher.start()) return 1;
    launcher::LaunchRequest request;
    request.executable = std::make_shared<sys::UniqueFd>(sealedProgram());
    request.sandbox = sandbox.status();
    request.workload.match.container = "app";
    request.workload.binary = {"probe", "1.0.0"};
    request.workload.args = {"wait"};
    for (int i = 0; i < rounds; ++i) {
      spawns.values.push_back(bare());
      request.recoveryId = "r" + std::to_string(i);
      auto process = run(loop, launcher.launch(request));
      if (!process) {
        std::fprintf(stderr, "%s\n", process.error().message().c_str());
        return 1;
      }
      const auto& times = (*process)->times();
      launches.values.push_back(toMillis(times.started - times.requested));
      prepared.values.push_back(toMillis(times.prepared - times.requested));
      checked.values.push_back(toMillis(times.healthChecked - times.prepared));
      started.values.push_back(toMillis(times.started - times.healthChecked));
      run(loop, (*process)->stop(std::chrono::nanoseconds(0)));
    }
  }
  std::filesystem::remove_all(folder);
  spawns.print("posix_spawn, twice");
  launches.print("launcher, request to exec");
  prepared.print("  request to root built");
  checked.print("  health check");
  started.print("  exec");
  std::printf("ratio of the medians         %.2f\n", launches.at(0.5) / spawns.at(0.5));
  return 0;
}
