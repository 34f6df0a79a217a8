// SPDX-License-Identifier: Apache-2.0
#include "daemon.hpp"

#include "base/strings.hpp"
#include "cgroups.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <charconv>
#include <csignal>
#include <fstream>
#include <sstream>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;

constexpr auto kDaemonDeadline = std::chrono::seconds(20);

std::string indented(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += "  " + line + "\n";
  return out;
}

/// For a shell in its own mounts: each hierarchy shows only what is below `top`. The mount of the whole tree
/// is removed, not only covered, because the daemon reads the mount table.
Result<std::string> belowCgroup(const std::string& top, const fs::path& place) {
  FB_TRY(const auto hierarchies, cgroupHierarchies());
  FB_CHECK(sys::makeDirs(Stage::cli, place, 0700));
  std::string script;
  for (const auto& hierarchy : hierarchies) {
    const auto& at = hierarchy.mountPoint.string();
    FB_CHECK(makeCgroup(hierarchy, at + top));
    script.append("mount --bind '").append(at).append(top).append("' '").append(place).append("'\n");
    script.append("umount --lazy '").append(at).append("'\n");
    script.append("mount --move '").append(place).append("' '").append(at).append("'\n");
  }
  return script + "exec \"$@\"\n";
}

}  // namespace

Result<Signer> Signer::make() {
  return makeIn(makeRunDir("signer"));
}

Result<Signer> Signer::makeIn(const fs::path& folder) {
  Signer signer(folder);
  FB_CHECK(sys::makeDirs(Stage::cli, signer.cacheDir(), 0755));
  FB_CHECK(sys::makeDirs(Stage::cli, signer.keysDir(), 0755));
  const std::string prefix = signer.folder_ / "signing";
  FB_CHECK(runOk({.argv = {binary("fallbackctl"), "keygen", "--out", prefix}, .env = {}, .output = {}}));
  std::error_code error;
  fs::copy_file(prefix + ".pub", signer.keysDir() / "signing.pub", error);
  if (error) return fail(Stage::cli, Reason::system, "copy " + prefix + ".pub", error.value());
  return signer;
}

Result<fs::path> Signer::sign(const fs::path& program, const std::string& name, const std::string& version,
                              const std::string& expires, const fs::path& imageConfig) const {
  fs::path attestation = folder_ / (name + "-v" + version + ".sigstore.json");
  std::vector<std::string> argv{
      binary("fallbackctl"), "sign",  "--force",   "--key", privateKey(), "--name",   name,
      "--version",           version, "--expires", expires, "--out",      attestation};
  if (!imageConfig.empty()) argv.insert(argv.end(), {"--image-config", imageConfig});
  argv.push_back(program);
  FB_CHECK(runOk({.argv = std::move(argv), .env = {}, .output = {}}));
  return attestation;
}

Result<> Signer::install(const fs::path& program, const std::string& name, const std::string& version,
                         const std::string& expires, const fs::path& imageConfig) const {
  FB_TRY(const auto attestation, sign(program, name, version, expires, imageConfig));
  FB_CHECK(runOk({.argv = {binary("fallbackctl"), "install", "--cache", cacheDir(), "--keys", keysDir(),
                           program, "--attestation", attestation},
                  .env = {},
                  .output = {}}));
  return {};
}

Result<std::unique_ptr<Daemon>> Daemon::start(const DaemonOptions& options) {
  std::unique_ptr<Daemon> daemon(new Daemon);
  daemon->folder_ = makeRunDir("daemon");
  FB_TRY(auto free, DeadPort::make());
  daemon->telemetryPort_ = free.release();
  FB_CHECK(daemon->rewriteConfig(options));
  FB_CHECK(daemon->restart());
  return daemon;
}

Result<> Daemon::rewriteConfig(const DaemonOptions& options) {
  cgroupTop_ = options.cgroupTop;
  std::ostringstream yaml;
  yaml << "apiVersion: fallbackd.io/v1\n"
       << "containerd:\n  socket: " << options.containerdSocket << "\n"
       << options.containerd << "cache:\n  path: " << options.cacheDir.string()
       << "\n  keys: " << options.keysDir.string()
       << "\n  state: " << (options.state.empty() ? folder_ / "state" : options.state).string() << "\n"
       << options.cache << "launcher:\n  runDir: " << runFolder().string()
       << "\n  kubeletPods: " << options.kubeletPods.string() << "\n"
       << (options.launcher.find("logLinks:") == std::string::npos
               ? "  logLinks: " + (folder_ / "log-links").string() + "\n"
               : "")
       << options.launcher << "telemetry:\n  listen: 127.0.0.1:" << telemetryPort_
       << "\n  socket: " << controlSocket().string() << "\n  logFormat: " << options.logFormat
       << "\n  logLevel: debug\n"
       << options.telemetry << options.extra;
  if (!options.workloads.empty()) yaml << "workloads:\n" << indented(options.workloads);
  FB_TRY(const auto dir, sys::openDir(Stage::cli, folder_));
  return sys::replaceFile(Stage::cli, dir, "fallbackd.yaml", yaml.str(), 0644);
}

Result<> Daemon::reload(const DaemonOptions& options, std::chrono::nanoseconds ceiling) {
  const auto loads = [this] {
    const auto metrics = this->metrics();
    return metrics ? sumOf(*metrics, "fallbackd_config_loads_total", "ok") : -1;
  };
  const auto before = loads();
  FB_CHECK(rewriteConfig(options));
  if (waitUntil(ceiling, [&] { return loads() > before; })) return {};
  return fail(Stage::cli, Reason::timeout, "the configuration was not loaded; fallbackd's log: " + logText());
}

Result<> Daemon::launch() {
  Command command{.argv = {binary("fallbackd"), "--config", configFile()}, .env = {}, .output = log()};
  command.argv.insert(command.argv.end(), arguments_.begin(), arguments_.end());
  if (!cgroupTop_.empty()) {
    FB_TRY(const auto script, belowCgroup(cgroupTop_, folder_ / "cgroup"));
    const std::vector<std::string> shell{"unshare", "--mount", "--propagation=private", "sh", "-ec",
                                         script,    "sh"};
    command.argv.insert(command.argv.begin(), shell.begin(), shell.end());
  }
  FB_TRY(process_, ChildProcess::start(command));
  return {};
}

Result<> Daemon::restart() {
  FB_CHECK(launch());
  const bool ready = waitUntil(kDaemonDeadline, [this] {
    const auto answer = httpGet("127.0.0.1", telemetryPort_, "/readyz");
    return (answer && answer->status == 200) || !process_->running();
  });
  if (ready && process_->running()) return {};
  return fail(Stage::cli, Reason::not_ready, "fallbackd did not become ready; its log: " + logText());
}

Result<ExitCode> Daemon::stop() {
  process_->signal(SIGTERM);
  return process_->wait(std::chrono::seconds(20));
}

void Daemon::kill() {
  process_->signal(SIGKILL);
  (void)process_->wait(std::chrono::seconds(10));
}

fs::path Daemon::log() const {
  return logFile("fallbackd-" + folder_.filename().string());
}

std::string Daemon::logText() const {
  constexpr std::size_t kMaxLog = 64 << 20;
  return sys::readFile(Stage::cli, log(), kMaxLog).value_or("");
}

Result<Metrics> Daemon::metrics() const {
  FB_TRY(const auto answer, httpGet("127.0.0.1", telemetryPort_, "/metrics"));
  if (answer.status != 200)
    return fail(Stage::cli, Reason::protocol, "/metrics: " + std::to_string(answer.status));
  return parseMetrics(answer.body);
}

double sumOf(const Metrics& metrics, const std::string& prefix, const std::string& part) {
  double sum = 0;
  for (const auto& [name, value] : metrics) {
    if (name.starts_with(prefix) && name.find(part) != std::string::npos) sum += value;
  }
  return sum;
}

Metrics parseMetrics(const std::string& text) {
  Metrics metrics;
  for (const auto line : split(text, '\n')) {
    // The value follows the last space; label values may contain spaces.
    const auto blank = line.rfind(' ');
    if (line.empty() || line.front() == '#' || blank == std::string_view::npos) continue;
    double value = 0;
    const auto number = line.substr(blank + 1);
    std::from_chars(number.data(), number.data() + number.size(), value);
    metrics[std::string(line.substr(0, blank))] = value;
  }
  return metrics;
}

}  // namespace fallbackd::e2e
