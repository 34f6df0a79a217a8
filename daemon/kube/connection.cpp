// SPDX-License-Identifier: Apache-2.0
#include "kube/connection.hpp"

#include "base/async/event.hpp"
#include "base/async/within.hpp"
#include "base/strings.hpp"
#include "kube/tls.hpp"

#include <array>
#include <charconv>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace fallbackd::kube {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t kChunkBytes = 16UL << 10;
// Far above what any cluster issues. Beast throws from 64 KiB on, where nothing would catch it.
constexpr std::size_t kMaxTokenBytes = 32UL << 10;

auto into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

/// A request: GET, unless there is something to send.
struct Question {
  std::string target;
  http::verb verb = http::verb::get;
  std::string body = {};
  const char* type = nullptr;  // of the body
  std::string accept = Connection::kJson;
};

struct Lookup {
  explicit Lookup(const asio::any_io_executor& executor) : resolver(executor), done(executor) {}
  tcp::resolver resolver;
  Event done;
  error_code error;
  tcp::resolver::results_type found;
};

/// Asio looks up on a thread, and throws if it cannot start one. The lookup is not awaited: it throws where a
/// coroutine that awaits it would not catch the exception.
void lookUp(const std::shared_ptr<Lookup>& lookup, const Url& server) {
  const auto end = [lookup](const error_code& error, tcp::resolver::results_type found) {
    lookup->error = error;
    lookup->found = std::move(found);
    lookup->done.set();
  };
  try {
    lookup->resolver.async_resolve(server.host, std::to_string(server.port), end);
  } catch (const boost::system::system_error& failure) {
    end(failure.code(), {});
  }
}

/// A lookup cannot be cancelled while the name server is silent, so it is abandoned at the caller's limit.
asio::awaitable<Result<std::vector<tcp::endpoint>>> addressesOf(Url server) {
  error_code notLiteral;
  const auto literal = asio::ip::make_address(server.host, notLiteral);
  if (!notLiteral) co_return std::vector{tcp::endpoint(literal, server.port)};
  const auto executor = co_await asio::this_coro::executor;
  const auto lookup = std::make_shared<Lookup>(executor);
  lookUp(lookup, server);
  co_await lookup->done.wait();
  if (lookup->error) {
    co_return fail(Stage::kube, Reason::unavailable,
                   "resolve " + server.host + ": " + lookup->error.message());
  }
  std::vector<tcp::endpoint> endpoints;
  for (const auto& entry : lookup->found) endpoints.push_back(entry.endpoint());
  co_return endpoints;
}

/// The kernel notices a dead peer after 35 s, even if nothing is sent.
void keepAlive(tcp::socket& socket) {
  using Idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
  using Interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
  using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(Idle(15), ignored);
  socket.set_option(Interval(5), ignored);
  socket.set_option(Count(4), ignored);
}

std::optional<std::chrono::seconds> retryAfterOf(std::string_view value) {
  unsigned seconds = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace

struct Connection::State {
  using Stream = asio::ssl::stream<tcp::socket>;
  using Parser = http::response_parser<http::buffer_body>;

  State(const asio::any_io_executor& executor, Access given, TlsContext tls, AnswerLimits most)
      : access(std::move(given)), limits(most), context(std::move(tls)), stream(executor, *context) {}

  Access access;
  AnswerLimits limits;
  TlsContext context;
  Stream stream;
  beast::flat_buffer buffer{kMaxHeaderBytes + kChunkBytes};
  std::optional<Parser> parser;  // of the answer that is being read
  bool streaming = false;
  std::string lines;         // received but not returned yet
  std::size_t searched = 0;  // this much of it contains no line end
  bool skipping = false;     // the line was too long; its end has not come yet

  [[nodiscard]] std::string name() const { return access.server.authority(); }
  [[nodiscard]] tl::unexpected<Error> broken(const std::string& what, const error_code& error) const;
  [[nodiscard]] tl::unexpected<Error> tooSlow(const std::string& what) const {
    return fail(Stage::kube, Reason::timeout, what + " " + name() + ": no answer in time");
  }

  asio::awaitable<Result<>> reach(std::chrono::nanoseconds limit);
  asio::awaitable<Result<>> connect(std::chrono::nanoseconds limit);
  asio::awaitable<Result<>> send(Question question);
  asio::awaitable<Result<>> readHeader();
  asio::awaitable<Result<>> readBody(std::string& body);
  asio::awaitable<Result<bool>> readChunk(std::string& text);
  asio::awaitable<Result<Answer>> ask(Question question, bool mayStream);
  asio::awaitable<Result<std::optional<Line>>> readLine();
  std::optional<Line> receivedLine();
};

tl::unexpected<Error> Connection::State::broken(const std::string& what, const error_code& error) const {
  const auto text = what + " " + name();
  if (error == http::error::header_limit || error == http::error::body_limit ||
      error == http::error::buffer_overflow) {
    return fail(Stage::kube, Reason::too_large, text + ": " + error.message());
  }
  const bool ended = error == http::error::end_of_stream || error == http::error::partial_message ||
                     error == asio::ssl::error::stream_truncated || error == asio::error::eof;
  if (ended) return fail(Stage::kube, Reason::unavailable, text + ": the connection was cut");
  if (error.category() == http::make_error_code(http::error::end_of_stream).category()) {
    return fail(Stage::kube, Reason::protocol, text + ": " + error.message());
  }
  if (error.category() == asio::error::get_ssl_category()) {
    return fail(Stage::kube, Reason::untrusted_key, text + ": " + error.message());
  }
  return fail(Stage::kube, Reason::unavailable, text + ": " + error.message());
}

/// Each address gets its share of the time: an address that drops packets must not keep us from the others.
asio::awaitable<Result<>> Connection::State::reach(std::chrono::nanoseconds limit) {
  FB_CO_TRY(const auto endpoints, co_await addressesOf(access.server));
  auto& socket = stream.next_layer();
  const auto share = limit / static_cast<std::int64_t>(endpoints.size() + 1);
  error_code error = asio::error::host_not_found;
  for (const auto& endpoint : endpoints) {
    error_code ignored;
    socket.close(ignored);
    const bool inTime = co_await within(share, socket.async_connect(endpoint, into(error)));
    if (inTime && !error) co_return Result<>();
    if (!inTime) error = asio::error::timed_out;
  }
  if (error == asio::error::timed_out) co_return tooSlow("connect to");
  co_return broken("connect to", error);
}

asio::awaitable<Result<>> Connection::State::connect(std::chrono::nanoseconds limit) {
  FB_CO_CHECK(co_await reach(limit));
  auto& socket = stream.next_layer();
  error_code error;
  keepAlive(socket);
  FB_CO_CHECK(prepareTls(stream.native_handle(), access));
  co_await stream.async_handshake(asio::ssl::stream_base::client, into(error));
  if (error) {
    auto failure = broken("TLS with", error);
    const auto why = verificationProblem(stream.native_handle());
    if (!why.empty()) failure.value().context += " (" + why + ")";
    co_return failure;
  }
  co_return checkPinned(stream.native_handle(), access);
}

asio::awaitable<Result<>> Connection::State::send(Question question) {
  http::request<http::string_body> request(question.verb, access.server.basePath + question.target, 11);
  request.set(http::field::host, access.server.authority());
  request.set(http::field::user_agent, "fallbackd/" FALLBACKD_VERSION);
  request.set(http::field::accept, question.accept);
  FB_CO_TRY(const auto token, contentOf(access.token, "token"));
  const auto clean = trim(token);
  if (!access.token.empty() && clean.empty()) {
    co_return fail(Stage::kube, Reason::invalid, "the token is empty: " + access.token.file);
  }
  if (clean.size() > kMaxTokenBytes) {
    co_return fail(Stage::kube, Reason::invalid, "the token is too long to be one: " + access.token.file);
  }
  if (clean.find_first_of("\r\n") != std::string_view::npos) {
    co_return fail(Stage::kube, Reason::invalid, "the token has more than one line: " + access.token.file);
  }
  if (!clean.empty()) request.set(http::field::authorization, "Bearer " + std::string(clean));
  if (question.type != nullptr) {
    request.set(http::field::content_type, question.type);
    request.body() = std::move(question.body);
    request.prepare_payload();
  }
  error_code error;
  co_await http::async_write(stream, request, into(error));
  if (error) co_return broken("ask", error);
  co_return Result<>();
}

asio::awaitable<Result<>> Connection::State::readHeader() {
  parser.emplace();
  parser->header_limit(kMaxHeaderBytes);
  parser->body_limit(boost::none);  // a stream has no limit; readBody() has its own
  error_code error;
  co_await http::async_read_header(stream, buffer, *parser, into(error));
  if (error) co_return broken("ask", error);
  co_return Result<>();
}

/// Reads more of the body. False if it is complete.
asio::awaitable<Result<bool>> Connection::State::readChunk(std::string& text) {
  if (parser->is_done()) co_return false;
  std::array<char, kChunkBytes> chunk;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  auto& body = parser->get().body();
  body.data = chunk.data();
  body.size = chunk.size();
  error_code error;
  co_await http::async_read_some(stream, buffer, *parser, into(error));
  if (error == http::error::need_buffer) error.clear();
  if (error) co_return broken("read from", error);
  text.append(chunk.data(), chunk.size() - body.size);
  co_return true;
}

asio::awaitable<Result<>> Connection::State::readBody(std::string& body) {
  for (;;) {
    FB_CO_TRY(const bool more, co_await readChunk(body));
    if (!more) co_return Result<>();
    if (body.size() > limits.bodyBytes) co_return broken("read from", http::error::body_limit);
  }
}

asio::awaitable<Result<Answer>> Connection::State::ask(Question question, bool mayStream) {
  if (streaming) co_return fail(Stage::kube, Reason::internal, "this connection is streaming already");
  FB_CO_CHECK(co_await send(std::move(question)));
  FB_CO_CHECK(co_await readHeader());
  Answer answer;
  answer.status = parser->get().result_int();
  const auto after = parser->get()[http::field::retry_after];
  answer.retryAfter = retryAfterOf({after.data(), after.size()});
  if (mayStream && answer.status == 200) {
    streaming = true;
    co_return answer;
  }
  FB_CO_CHECK(co_await readBody(answer.body));
  answer.keepsOpen = parser->keep_alive();
  co_return answer;
}

/// The first line of what was received, if its end has come. It takes the buffer along, so that the buffer
/// does not stay as large as the longest line.
std::optional<Line> Connection::State::receivedLine() {
  const auto end = lines.find('\n', searched);
  if (end == std::string::npos) {
    searched = lines.size();
    return std::nullopt;
  }
  auto rest = lines.substr(end + 1);
  lines.resize(end);
  Line line{std::exchange(lines, std::move(rest)), std::exchange(skipping, false)};
  if (line.skipped) line.text.clear();
  searched = 0;
  return line;
}

asio::awaitable<Result<std::optional<Line>>> Connection::State::readLine() {
  for (;;) {
    if (auto line = receivedLine()) co_return line;
    if (lines.size() > limits.lineBytes) skipping = true;
    if (skipping) {
      lines = {};
      searched = 0;
    }
    FB_CO_TRY(const bool more, co_await readChunk(lines));
    if (more) continue;
    if (!lines.empty() || skipping) {
      co_return fail(Stage::kube, Reason::unavailable, name() + " ended the stream within a line");
    }
    co_return std::nullopt;
  }
}

Connection::Connection(std::unique_ptr<State> state) : state_(std::move(state)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

asio::awaitable<Result<Connection>> Connection::open(Access access, std::chrono::nanoseconds limit,
                                                     AnswerLimits limits) {
  FB_CO_TRY(auto context, tlsContext(access));
  auto state = std::make_unique<State>(co_await asio::this_coro::executor, std::move(access),
                                       std::move(context), limits);
  auto connected = co_await within(limit, state->connect(limit));
  if (!connected) co_return state->tooSlow("connect to");
  FB_CO_CHECK(std::move(*connected));
  co_return Connection(std::move(state));
}

asio::awaitable<Result<Answer>> Connection::get(std::string target, std::chrono::nanoseconds limit,
                                                std::string accept) {
  Question question{std::move(target)};
  question.accept = std::move(accept);
  auto answer = co_await within(limit, state_->ask(std::move(question), false));
  if (!answer) co_return state_->tooSlow("ask");
  co_return std::move(*answer);
}

asio::awaitable<Result<Answer>> Connection::post(std::string target, std::string body,
                                                 std::chrono::nanoseconds limit) {
  Question question{std::move(target), http::verb::post, std::move(body), "application/json"};
  auto answer = co_await within(limit, state_->ask(std::move(question), false));
  if (!answer) co_return state_->tooSlow("ask");
  co_return std::move(*answer);
}

asio::awaitable<Result<Answer>> Connection::patch(std::string target, std::string body,
                                                  std::chrono::nanoseconds limit) {
  Question question{std::move(target), http::verb::patch, std::move(body),
                    "application/strategic-merge-patch+json"};
  auto answer = co_await within(limit, state_->ask(std::move(question), false));
  if (!answer) co_return state_->tooSlow("ask");
  co_return std::move(*answer);
}

asio::awaitable<Result<Answer>> Connection::openStream(std::string target, std::chrono::nanoseconds limit,
                                                       std::string accept) {
  Question question{std::move(target)};
  question.accept = std::move(accept);
  auto answer = co_await within(limit, state_->ask(std::move(question), true));
  if (!answer) co_return state_->tooSlow("ask");
  co_return std::move(*answer);
}

asio::awaitable<Result<std::optional<Line>>> Connection::nextLine(Stamp deadline) {
  if (!state_->streaming) {
    co_return fail(Stage::kube, Reason::internal, "this connection is not streaming");
  }
  auto line = co_await within(deadline, state_->readLine());
  if (!line) co_return state_->tooSlow("read from");
  co_return std::move(*line);
}

}  // namespace fallbackd::kube
