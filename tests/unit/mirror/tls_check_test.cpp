// SPDX-License-Identifier: Apache-2.0
// Whether a registry answers, with TLS servers on loopback.
#include "fake_runtime.hpp"
#include "loop_server.hpp"
#include "mirror/check.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using namespace std::chrono_literals;

/// A registry's self-signed certificate, and a client's certificate, signed by an intermediate authority.
class Certificates {
 public:
  Certificates() {
    const std::string key = " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes ";
    const std::string sign = "openssl x509 -req -days 1 -CAcreateserial ";
    const auto made = test::shell(
        "cd " + folder_.path() + " && openssl req -x509" + key +
        "-days 1 -subj /CN=registry -keyout registry.key -out registry.crt && openssl req -x509" + key +
        "-days 1 -subj /CN=root -keyout root.key -out root.crt && openssl req" + key +
        "-subj /CN=middle -keyout middle.key -out middle.csr && echo basicConstraints=critical,CA:TRUE > ca "
        "&& " +
        sign + "-in middle.csr -CA root.crt -CAkey root.key -extfile ca -out middle.crt && openssl req" +
        key + "-subj /CN=node -keyout node.key -out node.csr && " + sign +
        "-in node.csr -CA middle.crt -CAkey middle.key -out node.crt && cat node.crt middle.crt > chain.crt");
    if (made.code != 0) throw std::runtime_error(made.text);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return folder_.path() + "/" + name; }

 private:
  test::TempFolder folder_;
};

class TlsRegistry final : public e2e::LoopServer {
 public:
  enum class Clients : std::uint8_t { any, ofRoot };
  /// `tunnel`: its answer before TLS, in the role of a proxy; empty: it begins with TLS.
  TlsRegistry(const Certificates& certificates, Clients clients, std::string tunnel = "")
      : tunnel_(std::move(tunnel)) {
    context_.use_certificate_chain_file(certificates.file("registry.crt"));
    context_.use_private_key_file(certificates.file("registry.key"), ssl::context::pem);
    if (clients == Clients::ofRoot) {
      context_.load_verify_file(certificates.file("root.crt"));
      context_.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    }
    if (!listen()) throw std::runtime_error("no port");
  }
  ~TlsRegistry() override { stop(); }
  [[nodiscard]] Upstream upstream() const {
    auto upstream = upstreamOf("https://" + address()).value();
    upstream.skipVerify = true;
    return upstream;
  }

 private:
  asio::awaitable<void> serve(asio::ip::tcp::socket socket) override {
    boost::system::error_code error;
    std::array<char, 4096> some{};
    if (!tunnel_.empty()) {
      co_await socket.async_read_some(asio::buffer(some), asio::use_awaitable);
      co_await asio::async_write(socket, asio::buffer(tunnel_), asio::use_awaitable);
    }
    ssl::stream<asio::ip::tcp::socket> stream(std::move(socket), context_);
    co_await stream.async_handshake(ssl::stream_base::server,
                                    asio::redirect_error(asio::use_awaitable, error));
    if (error) co_await stayAway();  // the client reads the alert
    co_await stream.async_read_some(asio::buffer(some), asio::use_awaitable);
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    co_await asio::async_write(stream, asio::buffer(answer), asio::use_awaitable);
  }
  std::string tunnel_;
  ssl::context context_{ssl::context::tls_server};
};

class TlsCheckTest : public testing::Test {
 protected:
  std::optional<Failing> ask(Upstream upstream, std::optional<Upstream> proxy = {}) {
    return test::runToEnd(loop,
                          check(std::move(upstream), std::move(proxy), {20s, 20s}, "/no/such/file", names));
  }
  Certificates certificates;
  asio::io_context loop;
  std::shared_ptr<NameLookups> names = std::make_shared<NameLookups>(loop.get_executor());
};

TEST_F(TlsCheckTest, ARefusalAfterTheHandshakeIsNotAnOutage) {
  const TlsRegistry registry(certificates, TlsRegistry::Clients::ofRoot);
  const auto failing = ask(registry.upstream());
  ASSERT_TRUE(failing);
  EXPECT_EQ(failing->cause, Cause::tls) << failing->text;
}

TEST_F(TlsCheckTest, TheClientShowsItsWholeChain) {
  const TlsRegistry registry(certificates, TlsRegistry::Clients::ofRoot);
  auto upstream = registry.upstream();
  upstream.certificate = certificates.file("chain.crt");
  upstream.key = certificates.file("node.key");
  const auto refused = ask(upstream);
  EXPECT_FALSE(refused) << refused->text;
  upstream.key = certificates.file("root.key");
  EXPECT_EQ(ask(upstream)->cause, Cause::tls) << "the key does not belong to the certificate";
  upstream.certificate = certificates.file("none.crt");
  EXPECT_EQ(ask(upstream)->cause, Cause::tls) << "no such file";
}

TEST_F(TlsCheckTest, TheWholeHeaderOfATunnelComesBeforeTls) {
  for (const std::size_t size : {0U, 2000U, 20000U}) {
    const TlsRegistry registry(
        certificates, TlsRegistry::Clients::any,
        "HTTP/1.1 200 Connection established\r\nX-Via: " + std::string(size, 'x') + "\r\n\r\n");
    auto upstream = upstreamOf("https://registry.invalid").value();
    upstream.skipVerify = true;
    const auto failing = ask(upstream, upstreamOf("http://" + registry.address()));
    EXPECT_FALSE(failing) << size << " " << failing->text;
  }
  const TlsRegistry endless(certificates, TlsRegistry::Clients::any,
                            "HTTP/1.1 200 OK\r\nX-Via: " + std::string(100000, 'x'));
  EXPECT_EQ(
      ask(upstreamOf("https://registry.invalid").value(), upstreamOf("http://" + endless.address()))->cause,
      Cause::unknown);
}

}  // namespace
}  // namespace fallbackd::mirror
