// SPDX-License-Identifier: Apache-2.0
// shop-httpd: the demo workload, both in the container image and as the fallback binary.
#include "options.hpp"
#include "server.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/signalfd.h>
#include <unistd.h>

namespace {

constexpr int kExitUsage = 2;
constexpr int kExitUnhealthy = 3;
constexpr int kExitUnready = 4;

/// Pid 1 of a namespace has no default actions: SIGTERM needs a handler to end it.
void endAtOnce(int) {
  _exit(0);
}

unsigned drainSeconds = 0;

void endLater(int) {
  ::alarm(drainSeconds);
}

void drainAtSigterm(unsigned seconds) {
  drainSeconds = seconds;
  struct sigaction action {};
  action.sa_handler = &endAtOnce;
  sigaction(SIGALRM, &action, nullptr);
  action.sa_handler = &endLater;
  sigaction(SIGTERM, &action, nullptr);
}

/// A descriptor that becomes readable at SIGTERM, which then has no other effect. -1 if that fails.
int sigtermAsFile() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return -1;
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/// The first line of the configuration file, truncated to 200 bytes; false if it cannot be read.
bool firstLine(const std::string& path, std::string& line) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, 200> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  ::close(fd);
  if (got < 0) return false;
  line.assign(buffer.data(), static_cast<std::size_t>(got));
  line.erase(std::min(line.find('\n'), line.size()));
  return true;
}

/// A readiness probe: 0 if the file exists. A second file records that the probe was answered.
int answerReady(const std::string& path) {
  const int answer = ::access(path.c_str(), F_OK) == 0 ? 0 : kExitUnready;
  const int asked = ::open((path + ".asked").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (asked >= 0) ::close(asked);
  return answer;
}

/// A child process writes "flood N" lines, numbered from 0, until it is killed.
void flood() {
  if (::fork() != 0) return;
  std::string block;
  for (unsigned long line = 0;;) {
    block.clear();
    while (block.size() < 32 * 1024) block.append("flood ").append(std::to_string(line++)).append("\n");
    for (std::size_t done = 0; done < block.size();) {
      const ssize_t put = ::write(STDOUT_FILENO, block.data() + done, block.size() - done);
      if (put <= 0) ::_exit(1);
      done += static_cast<std::size_t>(put);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = &endAtOnce;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);

  shop::Options options;
  const std::string mistake = shop::parseOptions(argc, argv, options);
  std::string config;
  if (!mistake.empty() || (!options.configFile.empty() && !firstLine(options.configFile, config))) {
    const std::string text = mistake.empty() ? "cannot read " + options.configFile : mistake;
    std::fprintf(stderr, "shop-httpd: %s\n", text.c_str());
    return kExitUsage;
  }
  if (options.drainSeconds != 0) drainAtSigterm(options.drainSeconds);
  if (options.mode == shop::Mode::version) return std::puts("shop-httpd " SHOP_VERSION) < 0 ? 1 : 0;
  if (options.mode == shop::Mode::ready) return answerReady(options.readyIf);
  if (options.mode == shop::Mode::health_check) {
    if (options.failHealthCheck) std::fputs("shop-httpd: told to be unhealthy\n", stderr);
    return options.failHealthCheck ? kExitUnhealthy : 0;
  }

  std::array<char, 65> host{};
  ::gethostname(host.data(), host.size() - 1);
  shop::log("shop-httpd " SHOP_VERSION " starts, role " + options.role);
  if (options.slowStartMillis != 0) ::poll(nullptr, 0, static_cast<int>(options.slowStartMillis));
  const std::string who = "shop-httpd " SHOP_VERSION " role=" + options.role +
                          " pid=" + std::to_string(::getpid()) + " host=" + host.data() +
                          (config.empty() ? "" : " config=" + config) + "\n";
  if (options.flood) flood();
  const auto sharing = options.sharePort ? shop::Port::shared : shop::Port::own;
  const std::string error =
      shop::serve(options.port, sharing, options.graceful ? sigtermAsFile() : -1, {who, options.hungry});
  if (error.empty()) return 0;
  std::fprintf(stderr, "shop-httpd: %s\n", error.c_str());
  return 1;
}
