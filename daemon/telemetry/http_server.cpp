#include "telemetry/http_server.hpp"

#include <charconv>
#include <chrono>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace fallbackd::telemetry {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMaxClients = 64;
constexpr std::uint32_t kMaxHeaderBytes = 8192;
constexpr auto kIdleLimit = 10s;

auto noThrow(boost::system::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

}  // namespace

struct HttpServer::Shared {
  explicit Shared(asio::any_io_executor owner) : executor(std::move(owner)), tasks(executor) {}

  asio::any_io_executor executor;
  std::map<std::string, Handler> routes;
  std::size_t clients = 0;
  std::string unixPath;
  unsigned short port = 0;
  TaskGroup tasks;

  http::response<http::string_body> answer(const http::request<http::empty_body>& request) const {
    http::response<http::string_body> response;
    response.version(11);
    response.keep_alive(request.keep_alive());
    response.set(http::field::server, "fallbackd");
    response.set(http::field::cache_control, "no-store");
    Response content{404, "text/plain; charset=utf-8", "not found\n"};
    const std::string_view target{request.target().data(), request.target().size()};
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      content = Response{405, "text/plain; charset=utf-8", "only GET and HEAD\n"};
      response.set(http::field::allow, "GET, HEAD");
    } else if (const auto route = routes.find(std::string(target.substr(0, target.find('?'))));
               route != routes.end()) {
      content = route->second();
    }
    response.result(content.status);
    response.set(http::field::content_type, content.contentType);
    response.content_length(content.body.size());
    if (request.method() != http::verb::head) response.body() = std::move(content.body);
    return response;
  }
};

namespace {

template <class Protocol, class Shared>
asio::awaitable<void> serveClient(std::shared_ptr<Shared> shared, beast::basic_stream<Protocol> stream) {
  struct Counted {
    explicit Counted(std::size_t& count) : clients(count) { ++clients; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --clients; }
    std::size_t& clients;
  } const counted(shared->clients);

  beast::flat_buffer buffer(kMaxHeaderBytes);
  boost::system::error_code error;
  for (;;) {
    stream.expires_after(kIdleLimit);
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(0);
    co_await http::async_read(stream, buffer, parser, noThrow(error));
    if (error) co_return;
    const auto response = shared->answer(parser.get());
    stream.expires_after(kIdleLimit);
    if (parser.get().method() == http::verb::head) {
      http::response_serializer<http::string_body> serializer(response);
      co_await http::async_write_header(stream, serializer, noThrow(error));
    } else {
      co_await http::async_write(stream, response, noThrow(error));
    }
    if (error || !response.keep_alive()) break;
  }
  stream.socket().shutdown(asio::socket_base::shutdown_both, error);
}

template <class Acceptor, class Shared>
asio::awaitable<void> acceptAll(std::shared_ptr<Shared> shared, Acceptor acceptor) {
  using Protocol = typename Acceptor::protocol_type;
  asio::steady_timer pause(shared->executor);
  for (;;) {
    boost::system::error_code error;
    auto socket = co_await acceptor.async_accept(noThrow(error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: go on when some may have been closed.
      pause.expires_after(100ms);
      co_await pause.async_wait(noThrow(error));
      continue;
    }
    if (shared->clients >= kMaxClients) continue;  // closes it
    shared->tasks.spawn(serveClient<Protocol>(shared, beast::basic_stream<Protocol>(std::move(socket))));
  }
}

}  // namespace

HttpServer::HttpServer(asio::any_io_executor executor)
    : shared_(std::make_shared<Shared>(std::move(executor))) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::route(std::string path, Handler handler) {
  shared_->routes.insert_or_assign(std::move(path), std::move(handler));
}

Result<> HttpServer::listenTcp(const std::string& address) {
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
  asio::ip::tcp::acceptor acceptor(shared_->executor);
  const asio::ip::tcp::endpoint endpoint(ip, port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + address, error.value());
  shared_->port = acceptor.local_endpoint(error).port();
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

Result<> HttpServer::listenUnix(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(Stage::telemetry, Reason::invalid, path + " is too long for a unix socket");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failErrno(Stage::telemetry, "remove " + path);
  boost::system::error_code error;
  asio::local::stream_protocol::acceptor acceptor(shared_->executor);
  acceptor.open(asio::local::stream_protocol(), error);
  // Before bind, so that there is no moment in which others may connect.
  if (!error && ::fchmod(acceptor.native_handle(), 0600) != 0)
    error.assign(errno, boost::system::system_category());
  if (!error) acceptor.bind(asio::local::stream_protocol::endpoint(path), error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + path, error.value());
  shared_->unixPath = path;
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

unsigned short HttpServer::port() const {
  return shared_->port;
}

void HttpServer::stop() {
  shared_->tasks.cancelAll();
  if (!shared_->unixPath.empty()) ::unlink(shared_->unixPath.c_str());
  shared_->unixPath.clear();
}

}  // namespace fallbackd::telemetry
