// SPDX-License-Identifier: Apache-2.0
#include "fault_registry.hpp"

#include "http.hpp"
#include "wire.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

using Request = HttpRequest;
using Response = HttpResponse;

constexpr std::chrono::milliseconds kPiece = 50ms;

bool meets(const RegistryFault& fault, Asked asked) {
  return fault.asked == Asked::everything || fault.asked == asked;
}

/// Without "?ns=HOST", which containerd appends for a mirror.
std::string_view pathOf(const Request& request) {
  const std::string_view target = request.target();
  return target.substr(0, target.find('?'));
}

Response answer(unsigned status, std::string body = "{}", const char* type = "application/json") {
  Response response(static_cast<http::status>(status), 11);
  response.set(http::field::content_type, type);
  response.body() = std::move(body);
  return response;
}

}  // namespace

struct FaultRegistry::Server {
  explicit Server(FaultRegistry& owner) : registry(owner) {}

  asio::awaitable<void> acceptAll();
  asio::awaitable<void> serve(tcp::socket socket);
  asio::awaitable<void> pause(std::chrono::nanoseconds time);
  asio::awaitable<bool> misbehave(tcp::socket& socket, const RegistryFault& fault);
  /// `wire` runs over `socket`.
  asio::awaitable<void> answerAll(Wire& wire, tcp::socket& socket);
  /// False: close the connection.
  asio::awaitable<bool> answerOne(Wire& wire, tcp::socket& socket, const Request& request);
  asio::awaitable<void> sendPart(Wire& wire, Response response, Cut cut);
  asio::awaitable<void> sendLayer(Wire& wire, const RegistryFault& fault);
  [[nodiscard]] Response respond(const Request& request, const RegistryFault& fault) const;
  [[nodiscard]] std::optional<Response> refuse(const Request& request, const RegistryFault& fault) const;
  [[nodiscard]] Asked askedBy(const Request& request) const;

  FaultRegistry& registry;
  DeadPort dead;
  asio::io_context context{1};
  std::optional<asio::ssl::context> tls;  // unset: plain HTTP
  tcp::acceptor acceptor{context};
};

asio::awaitable<void> FaultRegistry::Server::pause(std::chrono::nanoseconds time) {
  asio::steady_timer timer(context, time);
  co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> FaultRegistry::Server::acceptAll() {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    // Ends with the connection or with the loop. An exception then only means the end of the stream.
    asio::co_spawn(context, serve(std::move(socket)), [](std::exception_ptr) {});
  }
}

/// What the registry does to a connection instead of answering. False: answer the request.
asio::awaitable<bool> FaultRegistry::Server::misbehave(tcp::socket& socket, const RegistryFault& fault) {
  if (fault.silent) co_await pause(1h);
  if (fault.reset) {
    socket.set_option(asio::socket_base::linger(true, 0));
    socket.close();
    co_return true;
  }
  if (fault.garbage) {
    const std::string noise(64, '\x7f');
    PlainWire wire(socket);
    co_await wire.write(noise);
    socket.close();
    co_return true;
  }
  co_return false;
}

asio::awaitable<void> FaultRegistry::Server::serve(tcp::socket socket) {
  // Before reading a request: the first bytes of a TLS client are not a request.
  co_await socket.async_wait(tcp::socket::wait_read, asio::use_awaitable);
  const RegistryFault first = registry.fault();
  if (first.asked == Asked::everything) {
    const bool over = co_await misbehave(socket, first);
    if (over) co_return;
  }
  if (!tls) {
    PlainWire wire(socket);
    co_await answerAll(wire, socket);
    co_return;
  }
  const auto wire = co_await secured(socket, *tls);
  co_await answerAll(*wire, socket);
}

/// The kind of request. Unknown requests count as requests for the manifest.
Asked FaultRegistry::Server::askedBy(const Request& request) const {
  const auto target = pathOf(request);
  if (target.starts_with("/token")) return Asked::token;
  if (request.method() == http::verb::head) return Asked::resolve;
  if (target.ends_with("/blobs/sha256:" + registry.blobs_.configDigest)) return Asked::config;
  if (target.ends_with("/blobs/sha256:" + registry.blobs_.layerDigest)) return Asked::layer;
  return Asked::manifest;
}

asio::awaitable<void> FaultRegistry::Server::answerAll(Wire& wire, tcp::socket& socket) {
  beast::flat_buffer buffer;
  for (bool open = true; open;) {
    const Request request = co_await readRequest(wire, buffer);
    ++registry.requests_;
    open = co_await answerOne(wire, socket, request);
  }
}

asio::awaitable<bool> FaultRegistry::Server::answerOne(Wire& wire, tcp::socket& socket,
                                                       const Request& request) {
  const RegistryFault fault = registry.fault();
  const Asked asked = askedBy(request);
  const bool met = meets(fault, asked);
  if (met && fault.asked != Asked::everything) {
    const bool over = co_await misbehave(socket, fault);
    if (over) co_return false;
  }
  if (met) co_await pause(fault.delay);
  auto response = respond(request, fault);
  response.keep_alive(request.keep_alive());
  if (met && fault.cut != Cut::never) {
    co_await sendPart(wire, std::move(response), fault.cut);
    if (fault.cut == Cut::reset_within_body) {
      socket.set_option(asio::socket_base::linger(true, 0));
      socket.close();
    } else {
      socket.shutdown(tcp::socket::shutdown_both);
    }
    co_return false;
  }
  if (response.result() == http::status::ok && asked == Asked::layer && !(met && fault.html)) {
    response.content_length(response.body().size());
    response.body().clear();
    const std::string head = textOf(response);
    co_await wire.write(head);
    co_await sendLayer(wire, fault);
    co_return true;
  }
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();  // its length stays in the header
  const std::string text = textOf(response);
  co_await wire.write(text);
  co_return true;
}

/// Sends the part of an answer before the cut.
asio::awaitable<void> FaultRegistry::Server::sendPart(Wire& wire, Response response, Cut cut) {
  if (cut == Cut::before_headers) co_return;
  response.prepare_payload();
  std::string bytes = textOf(response);
  const auto headers = bytes.find("\r\n\r\n") + 4;
  bytes.resize(cut == Cut::amid_headers ? headers / 2 : headers + (bytes.size() - headers) / 2);
  co_await wire.write(bytes);
}

asio::awaitable<void> FaultRegistry::Server::sendLayer(Wire& wire, const RegistryFault& fault) {
  std::string layer = registry.blobs_.layer;
  if (fault.wrongBytes) layer.back() = '!';
  const std::size_t end = std::min(layer.size(), fault.stallAfter);
  const bool slow = fault.bytesPerSecond != RegistryFault::kNever;
  const std::size_t most =
      slow ? std::max<std::size_t>(1, fault.bytesPerSecond * static_cast<std::size_t>(kPiece.count()) / 1000)
           : layer.size();
  for (std::size_t at = 0; at < end; at += most) {
    co_await wire.write(std::string_view(layer).substr(at, std::min(most, end - at)));
    if (slow && !registry.hurry_) co_await pause(kPiece);
  }
  if (end < layer.size()) co_await pause(1h);
}

std::optional<Response> FaultRegistry::Server::refuse(const Request& request,
                                                      const RegistryFault& fault) const {
  const Asked asked = askedBy(request);
  const bool met = meets(fault, asked);
  if (met && fault.html) return answer(200, "<!doctype html><title>Log in</title>", "text/html");
  if (met && fault.status != 0) {
    auto response = fault.body.empty() ? answer(fault.status) : answer(fault.status, fault.body);
    if (!fault.phrase.empty()) response.reason(fault.phrase);
    if (!fault.challenge.empty()) response.set(http::field::www_authenticate, fault.challenge);
    return response;
  }
  if (asked == Asked::token) {
    return fault.tokenStatus != 0 ? answer(fault.tokenStatus) : answer(200, R"({"token": "anonymous"})");
  }
  if (asked == Asked::layer && !fault.elsewhere.empty()) {
    auto response = answer(307);
    response.set(http::field::location, fault.elsewhere + registry.blobs_.layerDigest);
    return response;
  }
  const bool wantsToken = fault.tokenStatus != 0 || fault.tokenRefused || fault.asked == Asked::token;
  if (!wantsToken || request.find(http::field::authorization) != request.end()) return std::nullopt;
  auto response = answer(401);
  const auto realm = fault.tokenRefused ? dead.address() : registry.address();
  response.set(http::field::www_authenticate,
               "Bearer realm=\"http://" + realm + "/token\",service=\"shop\",scope=\"repository:shop:pull\"");
  return response;
}

Response FaultRegistry::Server::respond(const Request& request, const RegistryFault& fault) const {
  if (auto refusal = refuse(request, fault)) return std::move(*refusal);
  const auto& blobs = registry.blobs_;
  const auto target = pathOf(request);
  if (target == "/v2/") return answer(200);
  const bool byIndexDigest = target.ends_with("/manifests/sha256:" + blobs.indexDigest);
  if (byIndexDigest || (fault.index && target.find("/manifests/") != std::string_view::npos &&
                        target.find("sha256:") == std::string_view::npos)) {
    auto response = answer(200, blobs.index, "application/vnd.oci.image.index.v1+json");
    response.set("Docker-Content-Digest", registry.indexDigest());
    return response;
  }
  if (target.find("/manifests/") != std::string_view::npos) {
    auto response = answer(200, blobs.manifest, "application/vnd.oci.image.manifest.v1+json");
    response.set("Docker-Content-Digest", registry.digest());
    return response;
  }
  if (target.ends_with("/blobs/sha256:" + blobs.configDigest)) return answer(200, blobs.config);
  if (target.ends_with("/blobs/sha256:" + blobs.layerDigest)) {
    return answer(200, blobs.layer, "application/octet-stream");
  }
  return answer(404);
}

FaultRegistry::FaultRegistry(ImageBlobs blobs)
    : blobs_(std::move(blobs)), server_(std::make_unique<Server>(*this)) {}

FaultRegistry::~FaultRegistry() {
  server_->context.stop();
  if (thread_.joinable()) thread_.join();
}

Result<std::unique_ptr<FaultRegistry>> FaultRegistry::start(const Image& image, RegistryFault fault,
                                                            const std::optional<Certificate>& certificate) {
  FB_TRY(auto blobs, makeBlobs(image));
  std::unique_ptr<FaultRegistry> registry(new FaultRegistry(std::move(blobs)));
  registry->fault_ = std::move(fault);
  auto& server = *registry->server_;
  FB_TRY(server.dead, DeadPort::make());
  try {
    if (certificate) {
      server.tls.emplace(asio::ssl::context::tls_server);
      server.tls->use_certificate_chain(asio::buffer(certificate->text));
      server.tls->use_private_key(asio::buffer(certificate->key), asio::ssl::context::pem);
    }
    server.acceptor.open(tcp::v4());
    server.acceptor.bind({asio::ip::address_v4::loopback(), 0});
    server.acceptor.listen();
    registry->port_ = server.acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    return fail(Stage::cli, Reason::system, "listen on 127.0.0.1", error.code().value());
  }
  asio::co_spawn(server.context, server.acceptAll(), [](std::exception_ptr) {});
  registry->thread_ = std::thread([&server] { server.context.run(); });
  return registry;
}

void FaultRegistry::set(RegistryFault fault) {
  const std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
}

RegistryFault FaultRegistry::fault() const {
  const std::lock_guard lock(mutex_);
  return fault_;
}

}  // namespace fallbackd::e2e
