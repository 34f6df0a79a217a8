// SPDX-License-Identifier: Apache-2.0
#include "http2_server.hpp"

#include <array>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <openssl/ssl.h>

namespace fallbackd::e2e {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// RFC 9113, sections 3.4, 4.1, 6 and 7.
constexpr std::size_t kPreface = 24;
constexpr std::size_t kFrameHead = 9;
constexpr std::size_t kMaxFrames = 1000;
enum class Type : std::uint8_t { data = 0, headers = 1, rst_stream = 3, settings = 4, goaway = 7 };
constexpr std::uint8_t kAck = 1;
constexpr std::uint8_t kEndHeaders = 4;
constexpr std::uint32_t kNoError = 0;
constexpr std::uint32_t kInternalError = 2;
constexpr std::uint32_t kEnhanceYourCalm = 11;
// RFC 7541: entry 8 of the static table is ":status: 200".
const std::string kStatus200("\x88", 1);

std::string number(std::uint32_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xffU));
  }
  return out;
}

std::string frame(Type type, std::uint8_t flags, std::uint32_t stream, const std::string& payload) {
  return number(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + number(stream, 4) + payload;
}

std::string goaway(std::uint32_t lastStream, std::uint32_t code, const std::string& words) {
  return frame(Type::goaway, 0, 0, number(lastStream, 4) + number(code, 4) + words);
}

/// OpenSSL's callback; `seen` records whether HTTP/2 was offered.
int chooseProtocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* outSize, const unsigned char* in,
                   unsigned inSize, void* seen) {
  static constexpr std::array<unsigned char, 3> kHttp2{2, 'h', '2'};
  unsigned char* chosen = nullptr;
  const int found = ::SSL_select_next_proto(&chosen, outSize, kHttp2.data(), kHttp2.size(), in, inSize);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  *static_cast<std::atomic<bool>*>(seen) = true;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<std::unique_ptr<Http2Server>> Http2Server::start(Http2Fault fault, const Certificate& certificate) {
  std::unique_ptr<Http2Server> server(new Http2Server(fault));
  try {
    server->tls_.use_certificate_chain(asio::buffer(certificate.text));
    server->tls_.use_private_key(asio::buffer(certificate.key), asio::ssl::context::pem);
  } catch (const boost::system::system_error& error) {
    return fail(Stage::cli, Reason::system, "use a certificate", error.code().value());
  }
  ::SSL_CTX_set_alpn_select_cb(server->tls_.native_handle(), &chooseProtocol, &server->offered_);
  FB_CHECK(server->listen());
  return server;
}

Http2Server::~Http2Server() {
  stop();
}

std::string Http2Server::answerTo(std::uint32_t stream) const {
  const auto begun = frame(Type::headers, kEndHeaders, stream, kStatus200) +
                     frame(Type::data, 0, stream, std::string(1000, 'x'));
  switch (fault_) {
    case Http2Fault::goaway:
      return goaway(stream, kNoError, "");
    case Http2Fault::goaway_calm:
      return goaway(stream, kEnhanceYourCalm, "dial tcp 192.0.2.7:443: i/o timeout");
    case Http2Fault::goaway_within_body:
      return begun + goaway(stream, kInternalError, "");
    case Http2Fault::reset_stream:
      return frame(Type::rst_stream, 0, stream, number(kInternalError, 4));
    case Http2Fault::reset_within_body:
      return begun + frame(Type::rst_stream, 0, stream, number(kInternalError, 4));
    case Http2Fault::closes:
      break;
  }
  return {};
}

asio::awaitable<void> Http2Server::serve(tcp::socket socket) {
  asked_ = true;
  asio::ssl::stream<tcp::socket> stream(std::move(socket), tls_);
  co_await stream.async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  ::SSL_get0_alpn_selected(stream.native_handle(), &chosen, &size);
  if (size == 0) co_return;
  std::string payload(kPreface, '\0');
  co_await asio::async_read(stream, asio::buffer(payload), asio::use_awaitable);
  std::string answer = frame(Type::settings, 0, 0, "");
  co_await asio::async_write(stream, asio::buffer(answer), asio::use_awaitable);
  for (std::size_t i = 0; i < kMaxFrames; ++i) {
    std::array<unsigned char, kFrameHead> head{};
    co_await asio::async_read(stream, asio::buffer(head), asio::use_awaitable);
    payload.resize(std::size_t{head[0]} << 16U | std::size_t{head[1]} << 8U | head[2]);
    co_await asio::async_read(stream, asio::buffer(payload), asio::use_awaitable);
    answer.clear();
    if (head[3] == static_cast<unsigned char>(Type::settings) && head[4] == 0) {
      answer = frame(Type::settings, kAck, 0, "");
    }
    const bool request = head[3] == static_cast<unsigned char>(Type::headers);
    if (request) {
      const auto stream31 = std::uint32_t{head[5]} << 24U | std::uint32_t{head[6]} << 16U |
                            std::uint32_t{head[7]} << 8U | std::uint32_t{head[8]};
      answer = answerTo(stream31 & 0x7fffffffU);
    }
    co_await asio::async_write(stream, asio::buffer(answer), asio::use_awaitable);
    const bool stays = fault_ == Http2Fault::reset_stream || fault_ == Http2Fault::reset_within_body;
    if (request && !stays) break;
  }
  stream.lowest_layer().shutdown(tcp::socket::shutdown_both);
}

}  // namespace fallbackd::e2e
