// SPDX-License-Identifier: Apache-2.0
#include "kubelet/prober.hpp"

#include "http.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace fallbackd::e2e::model {

namespace {

const char* nameOf(ProbeType type) {
  switch (type) {
    case ProbeType::startup:
      return "Startup";
    case ProbeType::readiness:
      return "Readiness";
    case ProbeType::liveness:
      break;
  }
  return "Liveness";
}

const Probe& probeOf(const ContainerDefinition& container, ProbeType type) {
  if (type == ProbeType::startup) return *container.startup;
  return type == ProbeType::readiness ? *container.readiness : *container.liveness;
}

/// Returns in time even if nothing answers, as at the address of a sandbox that has ended.
bool acceptsWithin(const std::string& ip, std::uint16_t port, Millis timeout) {
  const sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  pollfd connected{fd.get(), POLLOUT, 0};
  if (::poll(&connected, 1, static_cast<int>(timeout.count())) <= 0) return false;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

Monotonic::duration sinceWall(std::int64_t nanoseconds) {
  return Wall::now().time_since_epoch() - std::chrono::nanoseconds(nanoseconds);
}

}  // namespace

Prober::Prober(const Parts& parts, const PodDefinition& pod, const ContainerDefinition& container,
               ProbeType type, std::function<void()> wake)
    : parts_(parts),
      pod_(pod),
      container_(container),
      probe_(probeOf(container, type)),
      type_(type),
      wake_(std::move(wake)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Prober::~Prober() {
  thread_.request_stop();
  thread_.join();
}

void Prober::run(const std::stop_token& stop) {
  auto due = Monotonic::now();
  while (!stop.stop_requested()) {
    const auto version = parts_.board.version(pod_.pod.uid);
    const auto status = parts_.board.find(pod_.pod.uid);
    const auto now = Monotonic::now();
    // The first readiness probe of a container is sent at once, outside the period.
    const bool atOnce = status && type_ == ProbeType::readiness && freshContainer(*status);
    if (now >= due || atOnce) {
      if (status) tick(*status);
      while (due <= now) due += probe_.period;
      continue;
    }
    parts_.board.waitForChange(pod_.pod.uid, version, due, stop);
  }
}

bool Prober::freshContainer(const PodStatus& pod) const {
  const auto* const status = pod.container(container_.spec.name);
  return status != nullptr && status->running() && status->containerId != containerId_;
}

void Prober::follow(const std::string& containerId) {
  containerId_ = containerId;
  onHold_ = false;
  inARow_ = 0;
  // Liveness begins as a success, readiness as a failure, startup without a result.
  if (type_ != ProbeType::startup)
    parts_.board.setResult(pod_, containerId_, type_, type_ == ProbeType::liveness);
}

void Prober::tick(const PodStatus& pod) {
  const auto* const status = pod.container(container_.spec.name);
  if (status == nullptr || status->containerId.empty()) return;
  if (status->containerId != containerId_) follow(status->containerId);
  if (onHold_) return;
  if (!status->running()) {
    if (type_ == ProbeType::readiness) parts_.board.setResult(pod_, containerId_, type_, false);
    return;
  }
  if (pod.deleting && type_ != ProbeType::readiness) return;
  if (sinceWall(status->state.startedAt) < probe_.initialDelay) return;
  if (status->started == (type_ == ProbeType::startup)) return;
  std::string message;
  const auto answer = ask(pod, *status, message);
  if (answer == Answer::none) {
    // Kubelet discards such a result.
    parts_.log.add(pod_.pod.name, container_.spec.name, "Unhealthy",
                   std::string(nameOf(type_)) + " probe errored: " + message);
    return;
  }
  count(answer == Answer::success, message);
}

void Prober::count(bool success, const std::string& message) {
  if (!success) {
    parts_.log.add(pod_.pod.name, container_.spec.name, "Unhealthy",
                   std::string(nameOf(type_)) + " probe failed: " + message);
  }
  inARow_ = inARow_ > 0 && last_ == success ? inARow_ + 1 : 1;
  last_ = success;
  if (inARow_ < (success ? probe_.successThreshold : probe_.failureThreshold)) return;
  const bool changed = parts_.board.result(containerId_, type_) != success;
  parts_.board.setResult(pod_, containerId_, type_, success);
  if (!success && type_ != ProbeType::readiness) onHold_ = true;
  if (changed) wake_();
}

Prober::Answer Prober::ask(const PodStatus& pod, const ContainerStatus& container,
                           std::string& message) const {
  if (probe_.kind == Probe::Kind::exec) {
    const auto outcome = parts_.runtime.exec(container.containerId, probe_.command, probe_.timeout);
    if (!outcome) {
      message = outcome.error().message();
      return Answer::none;
    }
    message = outcome->output;
    return outcome->code == 0 ? Answer::success : Answer::failure;
  }
  if (probe_.kind == Probe::Kind::tcp) {
    if (acceptsWithin(pod.ip, probe_.port, probe_.timeout)) return Answer::success;
    message = "port " + std::to_string(probe_.port) + " does not accept connections";
    return Answer::failure;
  }
  const auto answer = httpGet(pod.ip, probe_.port, probe_.path, probe_.timeout);
  message = answer ? "status " + std::to_string(answer->status) : answer.error().message();
  return answer && answer->status >= 200 && answer->status < 400 ? Answer::success : Answer::failure;
}

}  // namespace fallbackd::e2e::model
