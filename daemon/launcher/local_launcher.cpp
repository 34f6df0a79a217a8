// SPDX-License-Identifier: Apache-2.0
#include "launcher/local_launcher.hpp"

#include "launcher/launch.hpp"
#include "launcher/logs/logs.hpp"
#include "launcher/pod_files.hpp"
#include "launcher/spawner_process.hpp"
#include "sys/process.hpp"

#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kListLimit = 1s;

}  // namespace

LauncherParts::LauncherParts(asio::any_io_executor owner, LauncherOptions given, VerifyPause ask)
    : executor(owner),
      options(std::move(given)),
      verify(std::move(ask)),
      confinement(options.seccompProfiles, options.kernel),
      spawner(owner, options.spawnerProgram.empty() ? defaultSpawnerProgram() : options.spawnerProgram),
      pool(std::make_shared<workers::Pool>(owner, options.workerProgram)),
      tasks(owner) {}

void LauncherParts::reconfigure(config::LauncherSettings settings) {
  settings.runDir = options.runDir;
  settings.seccompProfiles = options.seccompProfiles;
  settings.logLinks = options.logLinks;
  static_cast<config::LauncherSettings&>(options) = std::move(settings);
}

LocalLauncher::LocalLauncher(asio::any_io_executor executor, Options options, VerifyPause verify)
    : parts_(std::move(executor), std::move(options), std::move(verify)), adoption_(parts_) {}

LocalLauncher::~LocalLauncher() = default;

Result<> LocalLauncher::start() {
  // If this is not permitted, entering a pod's leaf fails later, and the launch says so.
  static_cast<void>(sys::joinHostCgroupNamespace());
  if (!parts_.options.cgroups) {
    FB_TRY(parts_.options.cgroups, sys::cgroupHierarchies());
  }
  FB_TRY(auto cgroups, CgroupTrees::open(*parts_.options.cgroups, parts_.options.runDir));
  FB_TRY(auto fifos, FifoFolders::open(parts_.options.runDir));
  parts_.grounds = {std::make_shared<const CgroupTrees>(std::move(cgroups)),
                    std::make_shared<const FifoFolders>(std::move(fifos))};
  FB_TRY(parts_.host, HostNamespaces::read());
  FB_CHECK(parts_.confinement.prepare());
  FB_CHECK(parts_.pool->start());
  return parts_.spawner.start();
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launchOnce(LaunchRequest request) {
  Launch launch(parts_, std::move(request));
  auto process = co_await launch.run();
  co_return process;
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::launch(LaunchRequest request) {
  auto process = co_await launchOnce(request);
  if (process || process.error().reason != Reason::already_exists) co_return process;
  // A daemon that died before writing its journal left a leaf with that name. This attempt killed what ran in
  // it, so that no fallback ever runs twice.
  process = co_await launchOnce(std::move(request));
  co_return process;
}

asio::awaitable<Result<>> LocalLauncher::probeOnce(LaunchRequest like, std::vector<std::string> argv) {
  Launch launch(parts_, std::move(like));
  const auto outcome = co_await launch.probe(std::move(argv));
  co_return outcome;
}

asio::awaitable<Result<>> LocalLauncher::probe(LaunchRequest like, std::vector<std::string> argv,
                                               std::chrono::nanoseconds timeout) {
  like.workload.healthCheck.timeout = timeout;
  auto outcome = co_await probeOnce(like, argv);
  // A cancelled probe or an earlier daemon left its leaf there. The first attempt has removed that leaf,
  // unless its processes cannot be killed: then no second probe runs.
  const bool again = !outcome && outcome.error().reason == Reason::already_exists;
  if (again) outcome = co_await probeOnce(std::move(like), std::move(argv));
  if (outcome) co_return outcome;
  const auto& error = outcome.error();
  const bool bad = error.stage == Stage::health_check &&
                   (error.reason == Reason::unhealthy || error.reason == Reason::timeout);
  if (!bad) co_return outcome;
  const bool late = error.reason == Reason::timeout;
  co_return fail(Stage::readiness, Reason::not_ready,
                 late ? "not over within " + formatDuration(timeout) : error.context);
}

asio::awaitable<Result<std::unique_ptr<Process>>> LocalLauncher::adopt(ProcessRecord record) {
  return adoption_.adopt(std::move(record));
}

asio::awaitable<Launcher::Remains> LocalLauncher::collectOrphans(std::vector<ProcessRecord> kept) {
  return adoption_.collectOrphans(std::move(kept));
}

Result<bool> LocalLauncher::isIn(const ProcessRecord& record, const cri::SandboxStatus& sandbox) {
  for (const char* kind : {"net", "ipc"}) {
    FB_TRY(const auto its, sys::namespaceOf(Stage::run, record.pid, kind));
    FB_TRY(const auto theirs, sys::namespaceOf(Stage::sandbox, sandbox.pausePid, kind));
    if (!(its == theirs)) return false;
  }
  return true;
}

Unclaimed LocalLauncher::lookAgain(const Unclaimed& one) {
  return adoption_.lookAgain(one);
}

asio::awaitable<void> LocalLauncher::discard(ProcessRecord record) {
  return adoption_.discard(std::move(record));
}

/// By a worker, like all access to a pod's files: the folder may hang.
asio::awaitable<unsigned> LocalLauncher::latestRestart(std::string logDirectory, std::string container) {
  workers::Task task;
  task.stage = Stage::logs;
  task.owner = ownerOfLog(logFileOf(logDirectory, container, 0));
  task.what = "look for logs in " + logDirectory;
  task.limit = kListLimit;
  ask(task, ListLogsQuestion{std::move(logDirectory), std::move(container)});
  const auto outcome = co_await parts_.pool->run(std::move(task));
  const auto latest = outcome ? readLatestRestart(*outcome) : tl::unexpected<Error>(outcome.error());
  co_return latest.value_or(0);
}

}  // namespace fallbackd::launcher
