// SPDX-License-Identifier: Apache-2.0
#include "app/endpoints.hpp"

#include "app/explain.hpp"
#include "app/status.hpp"
#include "http/access.hpp"
#include "telemetry/page.hpp"

#include <utility>

namespace fallbackd::app {

namespace asio = boost::asio;
using http::Audience;
using http::Request;
using http::Response;

namespace {

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kJson = "application/json";

http::Options serverOptions(const config::TelemetrySettings& settings,
                            std::function<void(const std::string&)> trouble) {
  http::Options options;
  if (settings.tls) options.tls = {settings.tls->certificate, settings.tls->key};
  options.tokenFile = settings.tokenFile;
  options.trouble = std::move(trouble);
  return options;
}

/// The metrics in the format that the client prefers.
Response metricsAs(const telemetry::Metrics& metrics, bool openMetrics) {
  using telemetry::Metrics;
  if (openMetrics) return {200, std::string(Metrics::kOpenMetricsType), metrics.serializeOpenMetrics(), {}};
  return {200, std::string(Metrics::kTextType), metrics.serialize(), {}};
}

}  // namespace

Endpoints::Endpoints(const config::TelemetrySettings& settings, const std::string& runDir,
                     asio::any_io_executor daemon, std::function<Snapshot()> collect,
                     telemetry::Metrics& metrics, Stalled stalled,
                     std::function<void(const std::string&)> trouble)
    : settings_(settings),
      metrics_(metrics),
      stalled_(std::move(stalled)),
      server_(serverOptions(settings, std::move(trouble))),
      snapshots_(server_.executor(), std::move(daemon), std::move(collect)),
      profiler_(runDir),
      tasks_(server_.executor()) {
  addRoutes();
}

Result<> Endpoints::open() {
  if (settings_.listen) FB_CHECK(server_.listenTcp(*settings_.listen));
  FB_CHECK(server_.listenUnix(settings_.socket));
  tasks_.spawn(snapshots_.run());
  server_.run();
  return {};
}

/// Null if the loop does not respond; at once if that is known already.
asio::awaitable<SnapshotPtr> Endpoints::snapshot() {
  if (stalled_()) co_return nullptr;
  co_return co_await snapshots_.take();
}

Response Endpoints::silent() const {
  const auto length = stalled_();
  const std::string since =
      length ? " for " + formatDuration(std::chrono::floor<std::chrono::milliseconds>(*length)) : "";
  return {503, kText, "the daemon's event loop hangs" + since + "; its log has the stack\n", {}};
}

void Endpoints::addRoutes() {
  // A route that shows part of a snapshot.
  const auto show = [this](std::string path, Audience audience, auto answer) {
    server_.route(std::move(path), audience, [this, answer](Request request) -> asio::awaitable<Response> {
      const auto now = co_await snapshot();
      if (now == nullptr) co_return silent();
      co_return answer(*now, request);
    });
  };
  show("/healthz", Audience::anyone, [](const Snapshot&, const Request&) {
    return Response{200, kText, "ok\n", {}};
  });
  show("/readyz", Audience::anyone, [](const Snapshot& snapshot, const Request&) {
    auto state = readiness(snapshot);
    return Response{state.ready ? 200U : 503U, kText, std::move(state.text), {}};
  });
  // Works even while the loop hangs: shows the last values, and that it hangs.
  server_.route("/metrics", Audience::holder, [this](Request request) -> asio::awaitable<Response> {
    if (const auto now = co_await snapshot()) metrics_.workload.coverage(byVerdict(coverage_.of(*now)));
    co_return metricsAs(metrics_, http::wantsOpenMetrics(request.accept));
  });
  show("/status", Audience::holder, [this](const Snapshot& snapshot, const Request&) {
    return Response{200, kJson, statusJson(snapshot, coverage_.of(snapshot)) + "\n", {}};
  });
  show("/debug/vars", Audience::holder, [](const Snapshot& snapshot, const Request&) {
    return Response{200, kJson, varsJson(snapshot) + "\n", {}};
  });
  show("/explain", Audience::root, [](const Snapshot& snapshot, const Request& request) {
    const auto pod = request.query.find("pod");
    if (pod == request.query.end()) return Response{400, kText, "which pod? ?pod=NAME\n", {}};
    return Response{200, kJson, explainJson(explain(snapshot, pod->second)) + "\n", {}};
  });
  show("/coverage", Audience::root, [](const Snapshot& snapshot, const Request&) {
    return Response{200, kJson, coverageJson(snapshot) + "\n", {}};
  });
  server_.route("/", Audience::holder,
                [](Request) -> asio::awaitable<Response> { co_return telemetry::statusPage(); });
  server_.events("/events", [this]() -> asio::awaitable<std::optional<std::string>> {
    const auto now = co_await snapshot();
    if (now == nullptr) co_return std::nullopt;
    co_return statusJson(*now, coverage_.of(*now));
  });
  if (!settings_.profiling) return;
  server_.route("/debug/pprof/profile", Audience::holder,
                [this](Request request) { return profiler_.cpu(std::move(request)); });
  server_.route("/debug/pprof/heap", Audience::holder,
                [this](Request request) { return profiler_.heap(std::move(request)); });
}

}  // namespace fallbackd::app
