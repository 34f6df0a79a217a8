// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"

#include "base/async/loop_clock.hpp"
#include "base/query.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>

namespace fallbackd::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kMaxHeaderBytes = 8192;
constexpr std::size_t kReadSize = 1024;
constexpr auto kAskingLimit = 10s;  // for a whole request header; also how long an idle client is kept
constexpr auto kTakingLimit = 10s;  // for a whole response, or one event
constexpr auto kHeartbeat = 15s;    // the dead peer of a quiet event stream is noticed after this long

using RequestHead = http::request<http::empty_body>;

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

using ResponseHead = http::response<http::empty_body>;

/// The bytes that are sent before the body.
std::string textOf(const ResponseHead& head) {
  std::string text =
      "HTTP/1.1 " + std::to_string(head.result_int()) + " " + std::string(view(head.reason())) + "\r\n";
  for (const auto& field : head) {
    text.append(view(field.name_string())).append(": ").append(view(field.value())).append("\r\n");
  }
  return text + "\r\n";
}

/// A whole request's head. False if the client has disconnected, is too slow, or does not send a request that
/// we accept.
asio::awaitable<bool> readHead(Stream& stream, beast::flat_buffer& buffer,
                               http::request_parser<http::empty_body>& parser) {
  parser.eager(true);
  for (;;) {
    boost::system::error_code error;
    buffer.consume(parser.put(buffer.data(), error));
    if (!error && parser.is_done()) co_return true;
    if (error && error != http::error::need_more) co_return false;
    const auto room = std::min(buffer.max_size() - buffer.size(), kReadSize);
    if (room == 0) co_return false;
    const auto bytes = co_await stream.readSome(buffer.prepare(room));
    if (bytes == 0) co_return false;
    buffer.commit(bytes);
  }
}

/// Why this request is refused, if it is.
std::optional<Response> refused(const Site& site, const RequestHead& head, const Route* route, bool root) {
  if (head.method() != http::verb::get && head.method() != http::verb::head) {
    auto response = refusal(site, 405, "only GET and HEAD\n");
    response.headers.emplace_back("Allow", "GET, HEAD");
    return response;
  }
  if (root) return route == nullptr ? std::optional(refusal(site, 404, "not found\n")) : std::nullopt;
  if (site.loopbackOnly && !site.token.wanted() && !isLocalHost(view(head[http::field::host]))) {
    return refusal(site, 421, "use an IP address in the URL: this server listens on loopback only\n");
  }
  const bool open = route != nullptr && route->audience == Audience::anyone;
  if (!open && !site.token.admits(view(head[http::field::authorization]))) {
    auto response = refusal(site, 401, "a token is required\n");
    response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"fallbackd\"");
    response.headers.emplace_back("WWW-Authenticate", "Basic realm=\"fallbackd\"");
    return response;
  }
  if (route == nullptr || route->audience == Audience::root) return refusal(site, 404, "not found\n");
  return std::nullopt;
}

Route* find(Site& site, const RequestHead& head) {
  const auto target = view(head.target());
  const auto path = target.substr(0, target.find('?'));
  const auto found = site.routes.find(std::string(path));
  if (found != site.routes.end()) return &found->second;
  for (auto& [prefix, route] : site.prefixes) {
    if (path.starts_with(prefix)) return &route;
  }
  return nullptr;
}

void dress(ResponseHead& message) {
  message.set(http::field::server, "fallbackd");
  message.set(http::field::cache_control, "no-store");
  message.set("X-Content-Type-Options", "nosniff");
  message.set("Cross-Origin-Resource-Policy", "same-origin");
  message.set("Referrer-Policy", "no-referrer");
}

/// What to send, and whether another request may follow.
struct Answer {
  std::string text;  // the head, and the body unless it comes in pieces
  bool keepAlive = false;
  std::unique_ptr<Body> pieces = {};
  std::uint64_t length = 0;  // of the pieces
};

asio::awaitable<Answer> answerTo(const Site& site, RequestHead head, Route* route, bool root) {
  auto content = refused(site, head, route, root);
  if (!content) {
    const auto target = view(head.target());
    const auto mark = target.find('?');
    Request request{std::string(target.substr(0, mark)),
                    parseQuery(mark == std::string_view::npos ? "" : target.substr(mark + 1)),
                    std::string(view(head[http::field::accept])),
                    head.method() == http::verb::head ? Request::Method::head : Request::Method::get,
                    std::string(view(head[http::field::range])),
                    std::string(view(head[http::field::authorization]))};
    try {
      content = co_await route->handler(std::move(request));
    } catch (const std::exception& error) {
      content = refusal(site, 500, std::string("failed: ") + error.what() + "\n");
    }
  }
  ResponseHead response;
  response.version(11);
  response.keep_alive(head.keep_alive());
  dress(response);
  response.result(content->status);
  response.set(http::field::content_type, content->contentType);
  for (const auto& [name, value] : content->headers) response.insert(name, value);
  // The response to a HEAD has the length of the response to a GET, whether or not there is a body here.
  const bool elsewhere = content->pieces != nullptr || content->length > 0;
  response.content_length(elsewhere ? content->length : content->body.size());
  Answer answer{textOf(response), response.keep_alive()};
  if (head.method() == http::verb::head) co_return answer;
  answer.text += content->body;
  answer.pieces = std::move(content->pieces);
  answer.length = content->length;
  co_return answer;
}

/// Each piece is produced after the client has taken the one before. False if the connection is no longer
/// usable.
asio::awaitable<bool> sendPieces(Body& body, std::uint64_t length, Stream& stream) {
  while (length > 0) {
    stream.expireNever();  // the producer has its own time limit
    auto piece = co_await body.next();
    if (!piece || piece->empty() || piece->size() > length) co_return false;
    stream.expireAfter(kTakingLimit);
    const bool taken = co_await stream.write(*piece);
    if (!taken) co_return false;
    length -= piece->size();
  }
  co_return true;
}

/// Sends events until the client disconnects; then its place is free.
asio::awaitable<void> sendEvents(EventFeed& feed, Stream& stream) {
  ResponseHead head;
  head.version(11);
  head.keep_alive(false);
  head.result(http::status::ok);
  dress(head);
  head.set(http::field::content_type, "text/event-stream");
  const std::string begin = textOf(head);
  stream.expireAfter(kTakingLimit);
  bool here = co_await stream.write(begin);
  EventFeed::Listener listener(feed);
  while (here) {
    stream.expireNever();
    const auto text = co_await listener.next(kHeartbeat);
    const std::string event = text ? "data: " + *text + "\n\n" : ": still here\n\n";
    stream.expireAfter(kTakingLimit);
    here = co_await stream.write(event);
  }
}

/// Serves one request after the other until the client disconnects or its time is up.
asio::awaitable<void> serveRequests(std::shared_ptr<Site> site, Stream& stream, Clients::Client& client) {
  const bool root = client.isRoot();
  beast::flat_buffer buffer(kMaxHeaderBytes);
  for (;;) {
    stream.expireAfter(kAskingLimit);
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(0);
    if (!co_await readHead(stream, buffer, parser) || !client.asking) co_return;
    client.asking = false;
    site->refreshFiles();
    const auto& head = parser.get();
    auto* route = find(*site, head);
    if (route != nullptr && route->feed != nullptr && !refused(*site, head, route, root) &&
        head.method() == http::verb::get) {
      if (site->clients.mayListen(client)) {
        client.listening = true;
        co_await sendEvents(*route->feed, stream);
        co_return;
      }
    }
    stream.expireNever();  // the handler has its own time limit
    auto answer = co_await answerTo(*site, head, route, root);
    stream.expireAfter(kTakingLimit);
    bool taken = co_await stream.write(answer.text);
    if (taken && answer.pieces != nullptr) {
      taken = co_await sendPieces(*answer.pieces, answer.length, stream);
    }
    if (!taken || !answer.keepAlive) co_return;
    client.asking = true;
    client.since = LoopClock::of(site->executor).now();
  }
}

}  // namespace

Site::Site(Options given, asio::any_io_executor loop)
    : options(std::move(given)),
      executor(std::move(loop)),
      token(options.tokenFile),
      clients(options.limits) {
  if (options.tls) tls.emplace(*options.tls);
}

void Site::refreshFiles() {
  const auto noteFailure = [&](const Result<>& done) {
    if (!done && options.trouble) options.trouble(done.error().message());
  };
  noteFailure(token.refresh());
  if (tls) noteFailure(tls->refresh());
}

Response refusal(unsigned status, std::string body) {
  return {status, "text/plain; charset=utf-8", std::move(body), {}};
}

Response refusal(const Site& site, unsigned status, std::string body) {
  return site.options.refuse ? site.options.refuse(status, std::move(body))
                             : refusal(status, std::move(body));
}

asio::awaitable<void> serveClient(std::shared_ptr<Site> site, std::unique_ptr<Stream> stream,
                                  Clients::Place place) {
  struct Leave {
    Leave(Clients& c, Clients::Place p) : clients(c), place(p) {}
    Leave(const Leave&) = delete;
    Leave& operator=(const Leave&) = delete;
    ~Leave() { clients.remove(place); }
    Clients& clients;
    Clients::Place place;
  } const leave(site->clients, place);

  place->close = [&stream = *stream] { stream.cancel(); };
  stream->expireAfter(kAskingLimit);
  if (!co_await stream->open()) co_return;
  co_await serveRequests(site, *stream, *place);
  place->close = nullptr;
  co_await stream->close();
}

}  // namespace fallbackd::http
