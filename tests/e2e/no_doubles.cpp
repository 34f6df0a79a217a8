// SPDX-License-Identifier: Apache-2.0
#include "no_doubles.hpp"

#include "cgroups.hpp"
#include "content_of.hpp"
#include "cri_stubs.hpp"
#include "domain/stand_in.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include <grpcpp/client_context.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;
namespace v1 = runtime::v1;
using namespace std::chrono_literals;

constexpr auto kPause = 20ms;

std::string labelOf(const v1::Container& container, const char* key) {
  const auto found = container.labels().find(key);
  return found == container.labels().end() ? std::string() : found->second;
}

/// For the message of a failed test: state, start time and arguments of each process.
std::string whatRuns(const std::set<pid_t>& pids) {
  std::string text;
  for (const pid_t pid : pids) {
    const auto process = fs::path("/proc") / std::to_string(pid);
    auto arguments = test::contentOf(process / "cmdline");
    std::replace(arguments.begin(), arguments.end(), '\0', ' ');
    text += "\n" + test::contentOf(process / "stat") + "  " + arguments;
  }
  return text;
}

}  // namespace

std::set<pid_t> fallbacksOf(const std::string& podUid) {
  static const auto kHierarchies = cgroupHierarchies();
  std::set<pid_t> found;
  if (!kHierarchies || kHierarchies->empty()) return found;
  const auto folder = kHierarchies->front().mountPoint.string() + podCgroup(podUid);
  for (const pid_t pid : cgroupProcesses(folder)) {
    std::error_code gone;
    const auto program = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone).string();
    if (program.starts_with("/memfd:")) found.insert(pid);
  }
  return found;
}

NoDoubles::NoDoubles(const ContainerdNode& node) : node_(node), thread_([this] { run(); }) {}

NoDoubles::~NoDoubles() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

NoDoubles::Seen NoDoubles::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void NoDoubles::run() {
  for (;;) {
    look();
    std::unique_lock lock(mutex_);
    ++seen_.looks;
    if (wake_.wait_for(lock, kPause, [this] { return ends_; })) return;
  }
}

void NoDoubles::look() {
  v1::ListContainersRequest request;
  request.mutable_filter()->mutable_state()->set_state(v1::CONTAINER_RUNNING);
  grpc::ClientContext context;
  setDeadline(context, 5s);
  v1::ListContainersResponse response;
  if (!node_.cri().runtime->ListContainers(&context, request, &response).ok()) return;
  std::map<Place, std::vector<const v1::Container*>> running;
  for (const auto& one : response.containers()) {
    running[{labelOf(one, "io.kubernetes.pod.uid"), one.metadata().name()}].push_back(&one);
  }
  std::erase_if(aloneSince_, [&](const auto& one) {
    return std::none_of(running.begin(), running.end(),
                        [&](const auto& other) { return other.first.first == one.first; });
  });
  std::erase_if(besideSince_, [&](const auto& one) { return !running.contains(one.first); });
  for (const auto& [place, containers] : running) {
    const auto pod = labelOf(*containers.front(), "io.kubernetes.pod.name");
    const auto standIns =
        static_cast<std::size_t>(std::count_if(containers.begin(), containers.end(), [](const auto* one) {
          return one->labels().contains(kStandInLabel);
        }));
    const auto reals = containers.size() - standIns;
    if (standIns > 1 || reals > 1) {
      std::string text = pod + " " + place.second + ":";
      for (const auto* const one : containers) text += " " + one->id();
      const std::lock_guard lock(mutex_);
      seen_.doubledContainers.insert(text);
    }
    lookAtPlace(place, standIns, reals);
    lookAtPod(place.first, pod, standIns > 0);
  }
}

void NoDoubles::lookAtPlace(const Place& place, std::size_t standIns, std::size_t reals) {
  if (standIns == 0 || reals == 0) {
    besideSince_.erase(place);
    return;
  }
  const auto now = Monotonic::now();
  const auto since = besideSince_.try_emplace(place, now).first->second;
  const std::lock_guard lock(mutex_);
  seen_.longestBeside = std::max<std::chrono::nanoseconds>(seen_.longestBeside, now - since + kPause);
}

void NoDoubles::lookAtPod(const std::string& uid, const std::string& name, bool standIn) {
  const auto fallbacks = fallbacksOf(uid);
  const auto now = Monotonic::now();
  const std::lock_guard lock(mutex_);
  if (fallbacks.size() > 1) seen_.doubledFallbacks.try_emplace(name, whatRuns(fallbacks));
  if (!standIn || !fallbacks.empty()) {
    aloneSince_.erase(uid);
    return;
  }
  const auto since = aloneSince_.try_emplace(uid, now).first->second;
  seen_.longestAlone = std::max<std::chrono::nanoseconds>(seen_.longestAlone, now - since);
}

}  // namespace fallbackd::e2e
