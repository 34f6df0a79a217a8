// SPDX-License-Identifier: Apache-2.0
#include "mirror/check.hpp"

#include "base/async/event.hpp"
#include "base/async/within.hpp"
#include "base/task_group.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <memory>
#include <unistd.h>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <openssl/err.h>
#include <openssl/x509v3.h>

namespace fallbackd::mirror {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

/// How far an answer is read.
struct Until {
  std::string_view end;
  std::size_t limit;
};
constexpr Until kStatusLine{"\r\n", 4096};
constexpr Until kHeader{"\r\n\r\n", 64 << 10};

auto into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

Failing failing(Cause cause, const Upstream& upstream, const std::string& what) {
  return {cause, upstream.authority() + ": " + what};
}

/// A problem of this node, which says nothing about a registry.
bool isOfThisNode(const error_code& error) {
  return error == asio::error::no_descriptors || error == asio::error::no_memory ||
         error == asio::error::no_buffer_space || error == boost::system::errc::too_many_files_open_in_system;
}

/// For a connection or a transfer that failed.
Failing broken(const Upstream& upstream, const error_code& error) {
  if (isOfThisNode(error)) return failing(Cause::unknown, upstream, error.message());
  if (error.category() == asio::error::get_ssl_category()) {
    return failing(Cause::tls, upstream, error.message());
  }
  if (error == asio::error::timed_out) return failing(Cause::timeout, upstream, error.message());
  return failing(Cause::unreachable, upstream, error.message());
}

// The same as in Go's net.Dialer, which containerd uses.
constexpr auto kOtherFamilyAfter = std::chrono::milliseconds(300);

/// Attempts to connect to one host; the first that succeeds counts.
struct Dialing {
  explicit Dialing(const asio::any_io_executor& executor) : firstFamilyFailed(executor), over(executor) {}
  Event firstFamilyFailed;
  Event over;
  std::size_t left = 0;
  std::optional<tcp::socket> connected;
  error_code error;  // the latest
};

/// One address after the other.
asio::awaitable<void> dial(std::shared_ptr<Dialing> all, std::vector<tcp::endpoint> endpoints) {
  for (const auto& endpoint : endpoints) {
    tcp::socket socket(all->over.executor());
    error_code error;
    co_await socket.async_connect(endpoint, into(error));
    if (!error) {
      if (!all->connected) all->connected = std::move(socket);
      all->over.set();
      co_return;
    }
    all->error = error;
  }
  all->firstFamilyFailed.set();
  if (--all->left == 0) all->over.set();
}

asio::awaitable<void> dialLater(std::shared_ptr<Dialing> all, std::vector<tcp::endpoint> endpoints) {
  co_await all->firstFamilyFailed.waitFor(kOtherFamilyAfter);
  co_await dial(all, std::move(endpoints));
}

/// As containerd does it: an address family that leads nowhere does not hold up the other one.
asio::awaitable<std::shared_ptr<Dialing>> dialAll(std::vector<tcp::endpoint> endpoints) {
  const auto executor = co_await asio::this_coro::executor;
  const auto all = std::make_shared<Dialing>(executor);
  const auto first = endpoints.front().protocol();
  const auto other = std::stable_partition(endpoints.begin(), endpoints.end(),
                                           [&](const tcp::endpoint& one) { return one.protocol() == first; });
  std::vector<tcp::endpoint> others(other, endpoints.end());
  endpoints.erase(other, endpoints.end());
  TaskGroup tasks(executor);
  all->left = others.empty() ? 1 : 2;
  tasks.spawn(dial(all, std::move(endpoints)));
  if (!others.empty()) tasks.spawn(dialLater(all, std::move(others)));
  co_await all->over.wait();
  co_return all;
}

/// A connection to one host and what was learned from it.
class Visit {
 public:
  Visit(const asio::any_io_executor& executor, Upstream upstream, std::optional<Upstream> proxy,
        std::string trust, std::shared_ptr<NameLookups> names)
      : names_(std::move(names)),
        upstream_(std::move(upstream)),
        proxy_(std::move(proxy)),
        trust_(std::move(trust)),
        context_(ssl::context::tls_client),
        stream_(executor, context_) {}

  asio::awaitable<std::optional<Failing>> connect();
  asio::awaitable<std::optional<Failing>> ask();

 private:
  [[nodiscard]] const Upstream& peer() const { return proxy_ ? *proxy_ : upstream_; }
  tcp::socket& socket() { return stream_.next_layer(); }
  asio::awaitable<std::optional<Failing>> reach();
  asio::awaitable<std::optional<Failing>> tunnel();
  asio::awaitable<std::optional<Failing>> secure();
  std::optional<Failing> prepareTls();
  asio::awaitable<std::optional<Failing>> statusOf(bool encrypted, std::string request, Until until,
                                                   unsigned& status);

  std::shared_ptr<NameLookups> names_;
  Upstream upstream_;
  std::optional<Upstream> proxy_;
  std::string trust_;
  ssl::context context_;
  ssl::stream<tcp::socket> stream_;
};

asio::awaitable<std::optional<Failing>> Visit::reach() {
  const auto& host = peer();
  std::vector<tcp::endpoint> endpoints;
  error_code notLiteral;
  const auto literal = asio::ip::make_address(host.host, notLiteral);
  if (!notLiteral) {
    endpoints.emplace_back(literal, host.port);
  } else {
    const auto found = co_await names_->find(host.host);
    if (found.unknown) co_return failing(Cause::unknown, host, found.error);
    if (found.addresses.empty()) co_return failing(Cause::dns, host, found.error);
    for (const auto& address : found.addresses) endpoints.emplace_back(address, host.port);
  }
  auto dialing = dialAll(std::move(endpoints));
  const auto dialed = co_await std::move(dialing);
  if (!dialed->connected) co_return broken(host, dialed->error);
  socket() = std::move(*dialed->connected);
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failing>> Visit::tunnel() {
  const auto target =
      upstream_.host.find(':') == std::string::npos ? upstream_.host : "[" + upstream_.host + "]";
  const auto where = target + ":" + std::to_string(upstream_.port);
  unsigned status = 0;
  auto request = "CONNECT " + where + " HTTP/1.1\r\nHost: " + where + "\r\n\r\n";
  // Read the whole header: what follows it belongs to TLS.
  auto failed = co_await statusOf(false, std::move(request), kHeader, status);
  if (failed) co_return failed;
  // It requires a name and a password, which only containerd has: it may be healthy.
  if (status == 407) co_return failing(Cause::unauthorized, *proxy_, "the proxy requires a password");
  if (status / 100 != 2) {
    co_return failing(Cause::unreachable, *proxy_, "the proxy answers " + std::to_string(status));
  }
  co_return std::nullopt;
}

std::optional<Failing> Visit::prepareTls() {
  error_code error;
  context_.set_verify_mode(upstream_.skipVerify ? ssl::verify_none : ssl::verify_peer, error);
  if (::access(trust_.c_str(), R_OK) == 0) {
    context_.load_verify_file(trust_, error);
  } else {
    context_.set_default_verify_paths(error);
  }
  for (const auto& file : upstream_.ca) {
    context_.load_verify_file(file, error);
    if (error) return failing(Cause::tls, upstream_, file + ": " + error.message());
  }
  // The stream was made before the files were read.
  auto* const connection = stream_.native_handle();
  ::SSL_set1_verify_cert_store(connection, ::SSL_CTX_get_cert_store(context_.native_handle()));
  stream_.set_verify_mode(upstream_.skipVerify ? ssl::verify_none : ssl::verify_peer, error);
  if (!upstream_.certificate.empty() &&
      (::SSL_use_certificate_chain_file(connection, upstream_.certificate.c_str()) != 1 ||
       ::SSL_use_PrivateKey_file(connection, upstream_.key.c_str(), SSL_FILETYPE_PEM) != 1)) {
    const error_code invalid(static_cast<int>(::ERR_get_error()), asio::error::get_ssl_category());
    ::ERR_clear_error();
    return failing(Cause::tls, upstream_, upstream_.certificate + ": " + invalid.message());
  }
  error_code notAddress;
  asio::ip::make_address(upstream_.host, notAddress);
  auto name = upstream_.host;
  auto* const checks = ::SSL_get0_param(connection);
  if (notAddress) {
    // Like SSL_set_tlsext_host_name(), which contains an old-style cast.
    ::SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    ::X509_VERIFY_PARAM_set1_host(checks, name.c_str(), name.size());
  } else {
    ::X509_VERIFY_PARAM_set1_ip_asc(checks, name.c_str());
  }
  return std::nullopt;
}

asio::awaitable<std::optional<Failing>> Visit::secure() {
  if (auto failed = prepareTls()) co_return failed;
  error_code error;
  co_await stream_.async_handshake(ssl::stream_base::client, into(error));
  if (!error) co_return std::nullopt;
  // Cut during the handshake: the host does not speak TLS, or is going down.
  if (error == ssl::error::stream_truncated)
    co_return failing(Cause::unreachable, upstream_, error.message());
  co_return broken(upstream_, error);
}

asio::awaitable<std::optional<Failing>> Visit::connect() {
  auto failed = co_await reach();
  if (!failed && proxy_ && upstream_.tls) failed = co_await tunnel();
  if (!failed && upstream_.tls) failed = co_await secure();
  co_return failed;
}

asio::awaitable<std::optional<Failing>> Visit::statusOf(bool encrypted, std::string request, Until until,
                                                        unsigned& status) {
  // If it takes no request, what it sent before says why: in TLS 1.3 it refuses a client after the handshake.
  error_code notSent;
  if (encrypted) {
    co_await asio::async_write(stream_, asio::buffer(request), into(notSent));
  } else {
    co_await asio::async_write(socket(), asio::buffer(request), into(notSent));
  }
  error_code error;
  std::string text;
  std::array<char, 1024> chunk{};
  while (!error && text.find(until.end) == std::string::npos && text.size() < until.limit) {
    std::size_t bytes = 0;
    if (encrypted) {
      bytes = co_await stream_.async_read_some(asio::buffer(chunk), into(error));
    } else {
      bytes = co_await socket().async_read_some(asio::buffer(chunk), into(error));
    }
    text.append(chunk.data(), bytes);
  }
  if (text.find("\r\n") == std::string::npos && error) co_return broken(upstream_, error);
  if (!error && text.find(until.end) == std::string::npos) {
    co_return failing(Cause::unknown, upstream_, "an answer without end");
  }
  constexpr std::string_view kProtocol = "HTTP/1.";
  const auto* const digits = text.data() + kProtocol.size() + 2;
  if (!text.starts_with(kProtocol) || text.size() < kProtocol.size() + 5 ||
      std::from_chars(digits, digits + 3, status).ptr != digits + 3) {
    co_return failing(Cause::unknown, upstream_, "it does not speak HTTP");
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failing>> Visit::ask() {
  const bool throughProxy = proxy_ && !upstream_.tls;
  const auto target =
      (throughProxy ? "http://" + upstream_.authority() : std::string()) + upstream_.path + "/";
  auto request = "GET " + target + " HTTP/1.1\r\nHost: " + upstream_.authority() +
                 "\r\nUser-Agent: fallbackd/" FALLBACKD_VERSION
                 "\r\nAccept: */*\r\nConnection: close\r\n\r\n";
  unsigned status = 0;
  auto failed = co_await statusOf(upstream_.tls, std::move(request), kStatusLine, status);
  if (failed) co_return failed;
  const auto says = "GET " + upstream_.path + "/ answers " + std::to_string(status);
  if (status == 429) co_return failing(Cause::rate_limited, upstream_, says);
  if (status >= 500) co_return failing(Cause::server_error, upstream_, says);
  co_return std::nullopt;
}

}  // namespace

asio::awaitable<std::optional<Failing>> check(Upstream upstream, std::optional<Upstream> proxy,
                                              CheckLimits limits, std::string trust,
                                              std::shared_ptr<NameLookups> names) {
  const auto executor = co_await asio::this_coro::executor;
  const auto visit =
      std::make_shared<Visit>(executor, upstream, std::move(proxy), std::move(trust), std::move(names));
  auto connected = co_await within(limits.connection, visit->connect());
  if (!connected) co_return failing(Cause::timeout, upstream, "no connection in time");
  if (*connected) co_return std::move(*connected);
  auto answered = co_await within(limits.answer, visit->ask());
  if (!answered) co_return failing(Cause::timeout, upstream, "no answer in time");
  co_return std::move(*answered);
}

namespace {

struct Round {
  explicit Round(const asio::any_io_executor& executor) : over(executor) {}
  Event over;
  std::size_t left = 0;
  bool well = false;
  std::optional<Failing> last;
};

asio::awaitable<void> checkOne(std::shared_ptr<Round> round, Upstream upstream,
                               Result<std::optional<Upstream>> proxy, CheckLimits limits, std::string trust,
                               std::shared_ptr<NameLookups> names, bool isLast) {
  std::optional<Failing> failed;
  if (proxy) {
    auto asking = check(std::move(upstream), std::move(*proxy), limits, std::move(trust), std::move(names));
    failed = co_await std::move(asking);
  } else {
    // Asked in a different way than containerd asks, it would say nothing about containerd's pulls.
    failed = failing(Cause::unknown, upstream, proxy.error().context);
  }
  --round->left;
  round->well = round->well || !failed;
  if (isLast) round->last = std::move(failed);
  if (round->well || round->left == 0) round->over.set();
}

}  // namespace

asio::awaitable<std::optional<Failing>> checkAll(std::vector<Upstream> upstreams, Proxies proxies,
                                                 CheckLimits limits, std::string trust,
                                                 std::shared_ptr<NameLookups> names) {
  const auto executor = co_await asio::this_coro::executor;
  const auto round = std::make_shared<Round>(executor);
  round->left = upstreams.size();
  TaskGroup tasks(executor);
  for (std::size_t i = 0; i < upstreams.size(); ++i) {
    auto proxy = proxyFor(proxies, upstreams[i]);
    tasks.spawn(
        checkOne(round, upstreams[i], std::move(proxy), limits, trust, names, i + 1 == upstreams.size()));
  }
  if (!upstreams.empty()) co_await round->over.wait();
  if (round->well) co_return std::nullopt;
  co_return round->last;
}

}  // namespace fallbackd::mirror
