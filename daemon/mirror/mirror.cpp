// SPDX-License-Identifier: Apache-2.0
#include "mirror/mirror.hpp"

#include "http/server.hpp"
#include "mirror/offer.hpp"
#include "mirror/token.hpp"
#include "sys/file.hpp"
#include "sys/tcp_sockets.hpp"

#include <algorithm>
#include <chrono>
#include <unistd.h>
#include <utility>

#include <boost/asio/post.hpp>

namespace fallbackd::mirror {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// containerd opens new connections for every pull; kubelet pulls for 110 pods at most, three layers
// each.
constexpr std::size_t kMaxConnections = 512;
constexpr std::size_t kMaxProcEnvironment = 2 << 20;

http::Options serverOptions() {
  http::Options options;
  options.limits = {kMaxConnections, kMaxConnections};
  options.refuse = refusalAnswer;
  options.niceness = 0;  // it is on the path of every pull
  return options;
}

bool isOurs(const Upstream& upstream, const std::string& listen) {
  const auto own = upstreamOf("http://" + listen);
  return own && !upstream.tls && upstream.host == own->host && upstream.port == own->port;
}

/// Whether hosts.toml lets containerd ask us for this registry's images. Where the files cannot be seen, only
/// a pull can show it.
bool isAskedFor(const config::MirrorSettings& settings, const std::string& registry) {
  if (::access(settings.hostsDir.c_str(), R_OK | X_OK) != 0) return true;
  const auto upstreams = upstreamsFor(settings.hostsDir, registry);
  return !upstreams || std::any_of(upstreams->begin(), upstreams->end(),
                                   [&](const Upstream& one) { return isOurs(one, *settings.listen); });
}

}  // namespace

struct Mirror::Parts : std::enable_shared_from_this<Parts> {
  Parts(config::ConfigPtr given, Daemon outside)
      : config(std::move(given)), daemon(std::move(outside)), server(serverOptions()) {}

  asio::awaitable<std::optional<Failing>> checkRegistry(std::string registry);
  [[nodiscard]] Proxies containerdProxies() const;
  void complain(const std::string& what) {
    asio::post(daemon.loop, [self = shared_from_this(), what] { self->daemon.trouble(what); });
  }

  config::ConfigPtr config;
  Daemon daemon;
  http::Server server;
  std::shared_ptr<NameLookups> names = std::make_shared<NameLookups>(server.executor());
  std::unique_ptr<Endpoint> endpoint;
};

/// Read for each check: containerd may have been restarted with different ones.
Proxies Mirror::Parts::containerdProxies() const {
  const auto pid = sys::listenerOf(Stage::detection, config->containerd.socket);
  if (!pid) return {};
  const auto environment =
      sys::readFile(Stage::detection, "/proc/" + std::to_string(*pid) + "/environ", kMaxProcEnvironment);
  return environment ? proxiesOf(*environment) : Proxies();
}

asio::awaitable<std::optional<Failing>> Mirror::Parts::checkRegistry(std::string registry) {
  auto upstreams = upstreamsFor(config->mirror.hostsDir, registry);
  if (!upstreams) {
    complain("the mirror: " + upstreams.error().message());
    co_return std::nullopt;  // containerd will report the same
  }
  std::erase_if(*upstreams, [&](const Upstream& one) { return isOurs(one, *config->mirror.listen); });
  const auto& settings = config->detection.workloadDefaults;
  const CheckLimits limits{settings.stallTimeout, settings.responseTimeout};
  co_return co_await checkAll(std::move(*upstreams), containerdProxies(), limits,
                              config->launcher.caCertificates, names);
}

Mirror::Mirror(config::ConfigPtr config, Daemon daemon)
    : parts_(std::make_shared<Parts>(std::move(config), std::move(daemon))) {
  // Not owned: the endpoint is a part itself.
  auto* const parts = parts_.get();
  Endpoint::Outside outside{
      parts->daemon.images,
      [parts](std::string registry) { return parts->checkRegistry(std::move(registry)); },
      parts->daemon.recentFailure,
      [parts](const ServedImage& image) {
        asio::post(parts->daemon.loop,
                   [self = parts->shared_from_this(), image] { self->daemon.tell(image); });
      },
      [parts](const std::string& what) { parts->complain(what); }};
  const auto& settings = *parts->config;
  const auto& limits = settings.detection.workloadDefaults;
  const auto longest = limits.stallTimeout + limits.responseTimeout;
  Verdicts::Validity validity;
  validity.well = longest;
  validity.failing = settings.detection.reprobeInterval;
  validity.ahead = longest / 2;
  parts->endpoint = std::make_unique<Endpoint>(parts->server.executor(), settings.mirror,
                                               settings.detection.workloadDefaults.triggers, validity,
                                               settings.cache.state + "/mirror.seen", std::move(outside));
}

Mirror::~Mirror() {
  close();
}

Result<> Mirror::open() {
  const auto& settings = parts_->config->mirror;
  FB_TRY(const auto token, ensureToken(settings.tokenFile));
  parts_->server.routeBelow("/v2", http::Audience::anyone,
                            [endpoint = parts_->endpoint.get()](http::Request request) {
                              return endpoint->answer(std::move(request));
                            });
  FB_CHECK(parts_->server.listenTcp(*settings.listen));
  parts_->server.run();
  return {};
}

void Mirror::close() {
  parts_->names->close();
  parts_->server.stop();
}

View Mirror::view() const {
  return parts_->endpoint->view();
}

cri::Awaitable<bool> Mirror::offers(ImageReference image) {
  const auto& settings = parts_->config->mirror;
  if (!isServable(settings, image)) co_return false;
  const bool byTag = image.digest().empty();
  if (byTag && settings.cached == config::ServeCached::never) co_return false;
  if (!isAskedFor(settings, image.host())) co_return false;
  const auto offer = co_await offerOf(parts_->daemon.images, std::move(image), Platform::own());
  co_return offer.has_value();
}

bool Mirror::servedSince(const std::string& name, Stamp begin) const {
  return parts_->endpoint->served()->since(name, begin);
}

}  // namespace fallbackd::mirror
