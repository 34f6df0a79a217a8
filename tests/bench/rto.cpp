// SPDX-License-Identifier: Apache-2.0
// The recovery time as the pod's clients see it: from the sandbox's /tasks/start, by containerd's own time
// stamp, to an accepted connection on the pod's IP, with a registry that refuses connections. Also, in the
// same pods, the time for the sandbox itself.
#include "event_types.pb.h"
#include "events.grpc.pb.h"
#include "figures.hpp"
#include "isolate.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>

#include <boost/json.hpp>
#include <grpcpp/grpcpp.h>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace events = ::containerd::services::events::v1;

constexpr int kRecoveries = 60;
constexpr double kGoalMedianMs = 150;
constexpr auto kCeiling = 30s;

/// When containerd says that tasks started.
class TaskStarts {
 public:
  explicit TaskStarts(const std::string& socket)
      : stub_(events::Events::NewStub(
            grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))) {
    context_.AddMetadata("containerd-namespace", "k8s.io");
    events::SubscribeRequest request;
    request.add_filters("topic==\"/tasks/start\"");
    reader_ = stub_->Subscribe(&context_, request);
    thread_ = std::thread([this] { read(); });
  }
  TaskStarts(const TaskStarts&) = delete;
  TaskStarts& operator=(const TaskStarts&) = delete;
  ~TaskStarts() {
    context_.TryCancel();
    thread_.join();
  }
  /// Waits for the start of this container.
  std::optional<Wall::time_point> of(const std::string& id) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_for(lock, kCeiling, [&] { return starts_.contains(id); })) return std::nullopt;
    return starts_.at(id);
  }

 private:
  void read() {
    events::Envelope envelope;
    while (reader_->Read(&envelope)) {
      ::containerd::events::TaskStart start;
      if (!start.ParseFromString(envelope.event().value())) continue;
      const auto& at = envelope.timestamp();
      const std::lock_guard lock(mutex_);
      starts_[start.container_id()] = Wall::time_point(std::chrono::duration_cast<Wall::duration>(
          std::chrono::seconds(at.seconds()) + std::chrono::nanoseconds(at.nanos())));
      arrived_.notify_all();
    }
  }
  std::unique_ptr<events::Events::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<events::Envelope>> reader_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::string, Wall::time_point> starts_;
  std::thread thread_;
};

Result<int> measure() {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  TaskStarts starts(shop->node->socket());
  Series sandbox{"RunPodSandbox, whole", {}};
  Series total{"sandbox /tasks/start to accepted connection (RTO)", {}};
  for (int i = 0; i < kRecoveries; ++i) {
    const Stopwatch watch;
    FB_TRY(const auto pod, shop->kubelet->startPod(checkoutPod("web-" + std::to_string(i))));
    sandbox.millis.push_back(watch.millis());
    if (!waitUntil(kCeiling, [&] { return accepts(pod.ip, Shop::kPort); })) {
      return fail(Stage::readiness, Reason::timeout, "pod " + pod.spec.name + " was not recovered");
    }
    const auto accepted = Wall::now();
    const auto started = starts.of(pod.sandboxId);
    if (!started) return fail(Stage::containerd, Reason::timeout, "no /tasks/start for " + pod.sandboxId);
    total.millis.push_back(std::chrono::duration<double, std::milli>(accepted - *started).count());
    FB_CHECK(shop->kubelet->removePod(pod));
  }
  FB_TRY(const auto metrics, shop->daemon->metrics());
  printHead(std::to_string(kRecoveries) + " recoveries, refused connection, ms");
  const double median = percentile(total.millis, 50);
  boost::json::array rows{report(sandbox), report(total)};
  std::printf("\n  %-58s %8s\n", "mean by phase, as fallbackd measures it", "ms");
  boost::json::object phases;
  for (const auto* phase : {"detect", "verify", "prepare", "health_check", "exec", "ready", "total"}) {
    const auto label = "phase=\"" + std::string(phase) + "\"";
    const double sum = sumOf(metrics, "fallbackd_recovery_seconds_sum", label);
    const double count = sumOf(metrics, "fallbackd_recovery_seconds_count", label);
    const double mean = count > 0 ? sum / count * 1000 : 0;
    phases[phase] = mean;
    std::printf("  %-58s %8.1f\n", phase, mean);
  }
  const std::string why = median < kGoalMedianMs ? "" : "median " + std::to_string(median) + " ms";
  return conclude("rto", why,
                  {{"goalMedianMs", kGoalMedianMs}, {"series", std::move(rows)}, {"meanPhaseMs", phases}});
}

int bench() {
  const auto code = measure();
  if (code) return *code;
  return conclude("rto", code.error().message(), {});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
