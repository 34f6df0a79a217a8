// SPDX-License-Identifier: Apache-2.0
#include "kube/tls_server.hpp"

#include "base/query.hpp"
#include "kube/exchange.hpp"

#include <algorithm>
#include <array>
#include <sched.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <openssl/ssl.h>

namespace fallbackd::kube_test {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

std::string clientNameOf(SSL* connection) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(connection),
                                                                &X509_free);
  if (!certificate || SSL_get_verify_result(connection) != X509_V_OK) return {};
  std::array<char, 128> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name.data(),
                            name.size());
  return name.data();
}

std::string text(beast::string_view view) {
  return {view.data(), view.size()};
}

}  // namespace

TlsServer::TlsServer(const Leaf& leaf) : leaf_(leaf) {}

void TlsServer::certify(const Leaf& leaf) {
  onThread([this, leaf] { leaf_ = leaf; });
}

void TlsServer::askForCertificates(const Authority& authority) {
  onThread([this, certificate = authority.certificate()] { clientAuthority_ = certificate; });
}

void TlsServer::acceptTokens(std::vector<std::string> tokens) {
  onThread([this, tokens] { tokens_ = tokens; });
}

void TlsServer::grant(std::vector<Permission> permissions) {
  onThread([this, permissions] { authorizer_.emplace(std::set(permissions.begin(), permissions.end())); });
}

std::set<std::string> TlsServer::asked() {
  return onThread([this] { return authorizer_ ? authorizer_->asked() : std::set<std::string>(); });
}

void TlsServer::takeIdleProcessorsOnly() {
  onThread([] {
    const sched_param none{};
    return ::sched_setscheduler(0, SCHED_IDLE, &none);  // 0: the calling thread
  });
}

void TlsServer::trouble(Trouble trouble) {
  onThread([this, trouble] { trouble_ = trouble; });
}

void TlsServer::closeBehindAnswers() {
  onThread([this] { closes_ = true; });
}

void TlsServer::endSilence() {
  onThread([this] {
    silence_->set();
    silence_ = std::make_shared<Event>(executor());
  });
}

asio::awaitable<void> TlsServer::staySilent() {
  const auto ends = silence_;
  co_await ends->wait();
}

std::vector<Seen> TlsServer::requests() {
  return onThread([this] { return requests_; });
}

std::size_t TlsServer::connections() {
  return onThread([this] { return connections_; });
}

std::vector<std::string> TlsServer::violations() {
  return onThread([this] { return violations_; });
}

bool TlsServer::admitted(const Seen& request) const {
  if (!request.clientName.empty()) return true;
  return std::any_of(tokens_.begin(), tokens_.end(),
                     [&](const auto& token) { return request.authorization == "Bearer " + token; });
}

std::shared_ptr<asio::ssl::context> TlsServer::makeContext() const {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  context->use_certificate_chain(asio::buffer(leaf_.certificate));
  context->use_private_key(asio::buffer(leaf_.key), asio::ssl::context::pem);
  if (!clientAuthority_.empty()) {
    context->add_certificate_authority(asio::buffer(clientAuthority_));
    context->set_verify_mode(asio::ssl::verify_peer);
  }
  return context;
}

asio::awaitable<void> TlsServer::send(Stream& stream, std::string bytes) {
  co_await asio::async_write(stream, asio::buffer(bytes), asio::use_awaitable);
}

asio::awaitable<void> TlsServer::answer(Stream& stream, unsigned status, std::string body,
                                        std::string headers) {
  keepExchangedText("sent", body);
  if (closes_) headers += "Connection: close\r\n";
  co_await send(stream, "HTTP/1.1 " + std::to_string(status) +
                            " -\r\nContent-Type: application/json\r\nContent-Length: " +
                            std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body);
}

std::string TlsServer::statusObject(unsigned code, const std::string& message, const std::string& reason) {
  return boost::json::serialize(boost::json::object{{"kind", "Status"},
                                                    {"apiVersion", "v1"},
                                                    {"metadata", boost::json::object()},
                                                    {"status", "Failure"},
                                                    {"message", message},
                                                    {"reason", reason},
                                                    {"code", code}});
}

std::string TlsServer::podList(boost::json::array items, const std::string& version,
                               const std::string& more) {
  boost::json::object metadata;
  if (!version.empty()) metadata["resourceVersion"] = version;
  if (!more.empty()) metadata["continue"] = more;
  return boost::json::serialize(boost::json::object{{"kind", "PodList"},
                                                    {"apiVersion", "v1"},
                                                    {"metadata", std::move(metadata)},
                                                    {"items", std::move(items)}});
}

asio::awaitable<bool> TlsServer::misbehave(Stream& stream, Trouble trouble) {
  switch (trouble.fault) {
    case Fault::status: {
      std::string headers;
      if (!trouble.retryAfter.empty()) headers = "Retry-After: " + trouble.retryAfter + "\r\n";
      co_await answer(stream, trouble.status, statusObject(trouble.status, trouble.message), headers);
      co_return true;
    }
    case Fault::silent_answer:
      co_await staySilent();
      co_return false;
    case Fault::silent_body:
      co_await send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"kind\":");
      co_await staySilent();
      co_return false;
    case Fault::cut_body:
      co_await send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"kind\":");
      co_return false;
    case Fault::not_http:
      co_await send(stream, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
      co_return false;
    case Fault::not_json:
      co_await answer(stream, 200, "<html>welcome</html>");
      co_return true;
    case Fault::huge_header:
      co_await send(stream, "HTTP/1.1 200 OK\r\nX-Large: " + std::string(1UL << 20, 'x') + "\r\n\r\n");
      co_return false;
    case Fault::huge_body:
      co_await send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n{");
      co_await staySilent();
      co_return false;
    case Fault::endless_body:
      co_await send(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (int i = 0; i < 4096; ++i) co_await send(stream, "10000\r\n" + std::string(0x10000, ' ') + "\r\n");
      co_return false;
    case Fault::redirect:
      co_await answer(stream, 302, "", "Location: https://" + address() + "/elsewhere\r\n");
      co_return true;
    case Fault::none:
    case Fault::silent_accept:
    case Fault::cut_before_answer:
      co_return false;
  }
  co_return false;
}

asio::awaitable<void> TlsServer::serve(tcp::socket socket) {
  ++connections_;
  const auto takeTrouble = [this] {
    if (trouble_.fault == Fault::none || trouble_.times == 0) return Trouble{};
    --trouble_.times;
    return trouble_;
  };
  if (trouble_.fault == Fault::silent_accept && takeTrouble().fault != Fault::none) {
    co_await staySilent();
    co_return;
  }
  const auto context = makeContext();
  Stream stream(std::move(socket), *context);
  co_await stream.async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
  beast::flat_buffer buffer(64UL << 10);
  for (;;) {
    http::request_parser<http::string_body> parser;
    co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
    const auto& head = parser.get();
    const std::string target = text(head.target());
    const auto mark = target.find('?');
    Seen seen;
    seen.method = text(head.method_string());
    seen.accept = text(head[http::field::accept]);
    seen.contentType = text(head[http::field::content_type]);
    seen.body = head.body();
    seen.path = target.substr(0, mark);
    if (mark != std::string::npos) seen.rawQuery = target.substr(mark + 1);
    seen.query = parseQuery(seen.rawQuery);
    seen.authorization = text(head[http::field::authorization]);
    seen.clientName = clientNameOf(stream.native_handle());
    if (head.method() != http::verb::get && !mayChange(seen.path)) violation("method of " + target);
    if (head.version() != 11) violation("HTTP version of " + target);
    if (text(head[http::field::host]) != address()) violation("Host of " + target);
    if (seen.accept != acceptOf(seen)) violation("Accept of " + target);
    if (!text(head[http::field::user_agent]).starts_with("fallbackd/")) violation("User-Agent of " + target);
    if (target.find_first_of(" \"<>=&") < mark) violation("path of " + target);
    requests_.push_back(seen);
    if (authorizer_ && admitted(seen)) {
      const auto refusal = authorizer_->refusal(kind(), seen.method, seen.path, seen.query.contains("watch"));
      if (!refusal.empty()) {
        co_await answer(stream, 403, statusObject(403, refusal, "Forbidden"));
        continue;
      }
    }
    const auto now = takeTrouble();
    const bool goesOn = now.fault == Fault::none ? co_await respond(stream, std::move(seen))
                                                 : co_await misbehave(stream, now);
    if (!goesOn || closes_) co_return;
  }
}

}  // namespace fallbackd::kube_test
