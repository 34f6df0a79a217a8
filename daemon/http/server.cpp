// SPDX-License-Identifier: Apache-2.0
#include "http/server.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "base/query.hpp"
#include "base/task_group.hpp"
#include "http/access.hpp"
#include "http/clients.hpp"
#include "http/stream.hpp"
#include "sys/file.hpp"

#include <charconv>
#include <chrono>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>

namespace fallbackd::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using namespace std::chrono_literals;
using asio::ip::tcp;
using asio::local::stream_protocol;

namespace {

constexpr std::uint32_t kMaxHeaderBytes = 8192;
constexpr std::size_t kReadSize = 1024;
constexpr auto kAskingLimit = 10s;  // for a whole request header; also how long an idle client is kept
constexpr auto kTakingLimit = 10s;  // for a whole response, or one event
constexpr auto kEventInterval = 250ms;
constexpr auto kHeartbeat = 15s;  // after this long the dead peer of a quiet event stream is noticed
constexpr auto kStopLimit = 1s;
constexpr int kNiceness = 5;

auto noThrow(boost::system::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

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

/// A whole request's head. False if the client is gone, too slow, or does not send a request that we accept.
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

}  // namespace

struct Server::Shared {
  struct Route {
    Audience audience = Audience::holder;
    Handler handler;                  // either this
    std::unique_ptr<EventFeed> feed;  // or this
  };

  explicit Shared(Options given)
      : options(std::move(given)), token(options.tokenFile), executor(loop.get_executor()), tasks(executor) {
    if (options.tls) tls.emplace(*options.tls);
  }

  Options options;
  Token token;
  std::optional<TlsFiles> tls;
  asio::io_context loop{1};
  asio::any_io_executor executor;
  std::map<std::string, Route> routes;
  Clients clients;
  bool loopbackOnly = true;
  std::string unixPath;
  unsigned short port = 0;
  std::thread thread;
  TaskGroup tasks;

  void refreshFiles() {
    const auto tell = [&](const Result<>& done) {
      if (!done && options.trouble) options.trouble(done.error().message());
    };
    tell(token.refresh());
    if (tls) tell(tls->refresh());
  }

  static Response refusal(unsigned status, std::string body) {
    return {status, "text/plain; charset=utf-8", std::move(body), {}};
  }

  /// Why this request is refused, if it is.
  std::optional<Response> refused(const RequestHead& head, const Route* route, bool root) {
    if (head.method() != http::verb::get && head.method() != http::verb::head) {
      auto response = refusal(405, "only GET and HEAD\n");
      response.headers.emplace_back("Allow", "GET, HEAD");
      return response;
    }
    if (root) return route == nullptr ? std::optional(refusal(404, "not found\n")) : std::nullopt;
    if (loopbackOnly && !token.wanted() && !isLocalHost(view(head[http::field::host]))) {
      return refusal(421, "use an IP address in the URL: this server listens on loopback only\n");
    }
    const bool open = route != nullptr && route->audience == Audience::anyone;
    if (!open && !token.admits(view(head[http::field::authorization]))) {
      auto response = refusal(401, "a token is required\n");
      response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"fallbackd\"");
      response.headers.emplace_back("WWW-Authenticate", "Basic realm=\"fallbackd\"");
      return response;
    }
    if (route == nullptr || route->audience == Audience::root) return refusal(404, "not found\n");
    return std::nullopt;
  }

  Route* find(const RequestHead& head) {
    const auto target = view(head.target());
    const auto found = routes.find(std::string(target.substr(0, target.find('?'))));
    return found == routes.end() ? nullptr : &found->second;
  }

  static void dress(ResponseHead& message) {
    message.set(http::field::server, "fallbackd");
    message.set(http::field::cache_control, "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    message.set("Cross-Origin-Resource-Policy", "same-origin");
    message.set("Referrer-Policy", "no-referrer");
  }

  /// What to send, and whether another request may follow.
  struct Answer {
    std::string text;
    bool keepAlive = false;
  };

  asio::awaitable<Answer> answer(RequestHead head, Route* route, bool root) {
    auto content = refused(head, route, root);
    if (!content) {
      const auto target = view(head.target());
      const auto mark = target.find('?');
      Request request{std::string(target.substr(0, mark)),
                      parseQuery(mark == std::string_view::npos ? "" : target.substr(mark + 1)),
                      std::string(view(head[http::field::accept]))};
      try {
        content = co_await route->handler(std::move(request));
      } catch (const std::exception& error) {
        content = refusal(500, std::string("failed: ") + error.what() + "\n");
      }
    }
    ResponseHead response;
    response.version(11);
    response.keep_alive(head.keep_alive());
    dress(response);
    response.result(content->status);
    response.set(http::field::content_type, content->contentType);
    for (const auto& [name, value] : content->headers) response.insert(name, value);
    response.content_length(content->body.size());
    Answer answer{textOf(response), response.keep_alive()};
    if (head.method() != http::verb::head) answer.text += content->body;
    co_return answer;
  }
};

namespace {

/// Until the client disconnects; then its place is free.
template <class Shared>
asio::awaitable<void> sendEvents(EventFeed& feed, Stream& stream) {
  ResponseHead head;
  head.version(11);
  head.keep_alive(false);
  head.result(http::status::ok);
  Shared::dress(head);
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

/// One request after the other, until the client disconnects or its time is over.
template <class Shared>
asio::awaitable<void> serveRequests(std::shared_ptr<Shared> shared, Stream& stream, Clients::Client& client) {
  const bool root = client.isRoot();
  beast::flat_buffer buffer(kMaxHeaderBytes);
  for (;;) {
    stream.expireAfter(kAskingLimit);
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(0);
    if (!co_await readHead(stream, buffer, parser) || !client.asking) co_return;
    client.asking = false;
    shared->refreshFiles();
    const auto& head = parser.get();
    auto* route = shared->find(head);
    if (route != nullptr && route->feed != nullptr && !shared->refused(head, route, root) &&
        head.method() == http::verb::get) {
      if (shared->clients.mayListen(client)) {
        client.listening = true;
        co_await sendEvents<Shared>(*route->feed, stream);
        co_return;
      }
    }
    stream.expireNever();  // the handler has its own time limit
    const auto answer = co_await shared->answer(head, route, root);
    stream.expireAfter(kTakingLimit);
    if (!co_await stream.write(answer.text) || !answer.keepAlive) co_return;
    client.asking = true;
    client.since = LoopClock::of(shared->executor).now();
  }
}

template <class Shared>
asio::awaitable<void> serveClient(std::shared_ptr<Shared> shared, std::unique_ptr<Stream> stream,
                                  Clients::Place place) {
  struct Leave {
    Leave(Clients& c, Clients::Place p) : clients(c), place(p) {}
    Leave(const Leave&) = delete;
    Leave& operator=(const Leave&) = delete;
    ~Leave() { clients.remove(place); }
    Clients& clients;
    Clients::Place place;
  } const leave(shared->clients, place);

  place->close = [&stream = *stream] { stream.cancel(); };
  stream->expireAfter(kAskingLimit);
  if (!co_await stream->open()) co_return;
  co_await serveRequests(shared, *stream, *place);
  place->close = nullptr;
  co_await stream->close();
}

template <class Shared>
void begin(const std::shared_ptr<Shared>& shared, tcp::socket socket) {
  boost::system::error_code error;
  const auto peer = socket.remote_endpoint(error);
  if (error) return;  // disconnected already
  auto address = peer.address().to_string();
  if (!shared->clients.makeRoom(address)) return;
  socket.set_option(tcp::no_delay(true), error);
  const auto place =
      shared->clients.add({std::move(address), true, LoopClock::of(shared->executor).now(), nullptr});
  if (shared->tls) shared->refreshFiles();
  auto stream =
      shared->tls ? tlsStream(std::move(socket), *shared->tls->context()) : plainStream(std::move(socket));
  shared->tasks.spawn(serveClient(shared, std::move(stream), place));
}

template <class Shared>
void begin(const std::shared_ptr<Shared>& shared, stream_protocol::socket socket) {
  if (!shared->clients.makeRoom("")) return;
  const auto place = shared->clients.add({"", true, LoopClock::of(shared->executor).now(), nullptr});
  shared->tasks.spawn(serveClient(shared, plainStream(std::move(socket)), place));
}

template <class Acceptor, class Shared>
asio::awaitable<void> acceptAll(std::shared_ptr<Shared> shared, Acceptor acceptor) {
  for (;;) {
    boost::system::error_code error;
    auto socket = co_await acceptor.async_accept(noThrow(error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: continue when some may have been closed.
      co_await pauseFor(100ms);
      continue;
    }
    begin(shared, std::move(socket));
  }
}

}  // namespace

Server::Server(Options options) : shared_(std::make_shared<Shared>(std::move(options))) {}

Server::~Server() {
  stop();
}

asio::any_io_executor Server::executor() {
  return shared_->executor;
}

void Server::route(std::string path, Audience audience, Handler handler) {
  shared_->routes.insert_or_assign(std::move(path), Shared::Route{audience, std::move(handler), nullptr});
}

void Server::events(std::string path, EventFeed::Produce produce) {
  auto feed = std::make_unique<EventFeed>(shared_->executor, std::move(produce), kEventInterval);
  shared_->tasks.spawn(feed->run());
  const auto busy = [](Request) -> asio::awaitable<Response> {
    co_return Shared::refusal(503, "too many event streams are open\n");
  };
  shared_->routes.insert_or_assign(std::move(path), Shared::Route{Audience::holder, busy, std::move(feed)});
}

Result<> Server::listenTcp(const std::string& address) {
  const auto colon = address.rfind(':');
  unsigned short port = 0;
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(host, error);
  const char* end = address.data() + address.size();
  if (error || colon == std::string::npos ||
      std::from_chars(address.data() + colon + 1, end, port).ptr != end) {
    return fail(Stage::telemetry, Reason::invalid,
                address + " is not ADDRESS:PORT, for example 127.0.0.1:9477");
  }
  FB_CHECK(shared_->token.refresh());
  if (shared_->tls) FB_CHECK(shared_->tls->refresh());
  shared_->loopbackOnly = ip.is_loopback();
  tcp::acceptor acceptor(shared_->executor);
  const tcp::endpoint endpoint(ip, port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + address, error.value());
  shared_->port = acceptor.local_endpoint(error).port();
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

Result<> Server::listenUnix(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(Stage::telemetry, Reason::invalid, path + " is too long for a unix socket");
  }
  FB_CHECK(sys::removeSocket(Stage::telemetry, path));
  boost::system::error_code error;
  stream_protocol::acceptor acceptor(shared_->executor);
  acceptor.open(stream_protocol(), error);
  // Before bind, so that at no moment others may connect.
  if (!error && ::fchmod(acceptor.native_handle(), 0600) != 0)
    error.assign(errno, boost::system::system_category());
  if (!error) acceptor.bind(stream_protocol::endpoint(path), error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + path, error.value());
  shared_->unixPath = path;
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

void Server::run() {
  shared_->thread = std::thread([shared = shared_.get()] {
    // On Linux each thread has its own niceness. If this fails, the server works as well.
    static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNiceness));
    shared->loop.run();
  });
}

unsigned short Server::port() const {
  return shared_->port;
}

void Server::stop() {
  shared_->loop.stop();
  if (shared_->thread.joinable()) shared_->thread.join();
  // Pending waits keep the loop and its connections alive: all of it ends here.
  shared_->tasks.cancelAll();
  shared_->loop.restart();
  shared_->loop.run_for(kStopLimit);
  if (!shared_->unixPath.empty()) static_cast<void>(sys::removeSocket(Stage::telemetry, shared_->unixPath));
  shared_->unixPath.clear();
}

}  // namespace fallbackd::http
