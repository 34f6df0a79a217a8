// The recovery time as the pod's clients see it: from the /tasks/start of the sandbox, by containerd's own
// time stamp, to an accepted connection on the pod's IP, with a registry that refuses connections. Beside it,
// in the same pods, what the sandbox itself takes.
#include "event_types.pb.h"
#include "events.grpc.pb.h"
#include "isolate.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <sys/socket.h>
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

/// When containerd said that tasks started.
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

bool accepts(const std::string& ip, std::uint16_t port) {
  const sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return ::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                   sizeof address) == 0;
}

/// Nearest-rank percentile of sorted values.
double percentile(const std::vector<double>& sorted, double p) {
  const auto rank = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(sorted.size())));
  return sorted.at(std::max<std::size_t>(rank, 1) - 1);
}

struct Series {
  std::string name;
  std::vector<double> millis;
};

boost::json::object report(Series series) {
  std::sort(series.millis.begin(), series.millis.end());
  const double p50 = percentile(series.millis, 50);
  const double p99 = percentile(series.millis, 99);
  std::printf("  %-58s %8.1f %8.1f %8.1f\n", series.name.c_str(), p50, p99, series.millis.back());
  return {{"name", series.name},
          {"count", series.millis.size()},
          {"p50Ms", p50},
          {"p99Ms", p99},
          {"maxMs", series.millis.back()}};
}

Result<int> measure() {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  TaskStarts starts(shop->node->socket());
  Series sandbox{"RunPodSandbox, whole", {}};
  Series total{"sandbox /tasks/start to accepted connection (RTO)", {}};
  for (int i = 0; i < kRecoveries; ++i) {
    const Stopwatch watch;
    FB_TRY(const auto pod, shop->kubelet->startPod(shop->podSpec("web-" + std::to_string(i))));
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
  std::printf("\n  %-58s %8s %8s %8s\n",
              (std::to_string(kRecoveries) + " recoveries, refused connection, ms").c_str(), "P50", "P99",
              "max");
  const double median = [&] {
    auto sorted = total.millis;
    std::sort(sorted.begin(), sorted.end());
    return percentile(sorted, 50);
  }();
  boost::json::array rows{report(sandbox), report(total)};
  std::printf("\n  %-58s %8s\n", "mean by phase, as fallbackd measures it", "ms");
  boost::json::object phases;
  for (const auto* phase : {"detect", "verify", "prepare", "health_check", "exec", "ready", "total"}) {
    double sum = 0;
    double count = 0;
    for (const auto& [name, value] : metrics) {
      if (name.find("phase=\"" + std::string(phase) + "\"") == std::string::npos) continue;
      if (name.starts_with("fallbackd_recovery_seconds_sum")) sum += value;
      if (name.starts_with("fallbackd_recovery_seconds_count")) count += value;
    }
    const double mean = count > 0 ? sum / count * 1000 : 0;
    phases[phase] = mean;
    std::printf("  %-58s %8.1f\n", phase, mean);
  }
  const bool ok = median < kGoalMedianMs;
  std::ofstream(std::getenv("BENCH_JSON") == nullptr ? "/dev/null" : std::getenv("BENCH_JSON"))
      << boost::json::serialize(boost::json::object{{"name", "rto"},
                                                    {"ok", ok},
                                                    {"goalMedianMs", kGoalMedianMs},
                                                    {"series", rows},
                                                    {"meanPhaseMs", phases}})
      << "\n";
  if (ok) {
    std::printf("\nrto: ok\n");
  } else {
    std::printf("\nrto: falls short: median %.1f ms, goal %.0f ms\n", median, kGoalMedianMs);
  }
  return ok ? 0 : 1;
}

int bench() {
  const auto code = measure();
  if (code) return *code;
  std::printf("rto: falls short: %s\n", code.error().message().c_str());
  return 1;
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
