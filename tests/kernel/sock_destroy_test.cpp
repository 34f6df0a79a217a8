// SPDX-License-Identifier: Apache-2.0
// SOCK_DESTROY on the real kernel: ends the given connections in a separate network namespace, and no others.
#include "shell.hpp"
#include "sys/tcp_sockets.hpp"
#include "without_capabilities.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

/// Runs the body in a process with its own network namespace, in which packets to 192.0.2.0/24 vanish. The
/// body returns what is wrong; empty: nothing.
std::string inOwnNetwork(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return "pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string wrong = "the network was not created";
    const char* const commands =
        "ip link set lo up && ip link add hole type veth peer name ground && "
        "ip address add 192.0.2.254/24 dev hole && ip link set ground up && ip link set hole up arp off";
    if (::unshare(CLONE_NEWNET) == 0 && test::shell(commands).code == 0) wrong = body();
    static_cast<void>(!::write(ends[1], wrong.data(), wrong.size()));
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string wrong(4096, '\0');
  const auto length = ::read(ends[0], wrong.data(), wrong.size());
  ::close(ends[0]);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) return "the process failed";
  wrong.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  return wrong;
}

/// This process's only connection to the peer.
Result<TcpConnection> find(const TcpDiagnosis& diagnosis, const std::string& peer) {
  FB_TRY(const auto all, diagnosis.receivedBy(::getpid()));
  for (const auto& [inode, one] : all) {
    if (one.peer == peer) return one;
  }
  return fail(Stage::detection, Reason::not_found, peer);
}

/// The error that the socket's owner sees, once there is one.
int errorOf(tcp::socket& socket) {
  pollfd polled{socket.native_handle(), POLLIN, 0};
  if (::poll(&polled, 1, 10'000) != 1) return 0;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return -1;
  return error;
}

std::string textOf(const tcp::endpoint& endpoint) {
  return endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
}

struct Pair {
  explicit Pair(asio::io_context& loop)
      : acceptor(loop, {asio::ip::address_v4::loopback(), 0}), near(loop), far(loop) {
    near.connect(acceptor.local_endpoint());
    far = acceptor.accept();
  }
  tcp::acceptor acceptor;
  tcp::socket near;
  tcp::socket far;
};

TEST(SockDestroy, EndsAnEstablishedConnectionAtOnceAndNoOther) {
  EXPECT_EQ(inOwnNetwork([]() -> std::string {
              asio::io_context loop;
              Pair ended(loop);
              Pair other(loop);
              const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
              if (!diagnosis) return diagnosis.error().message();
              if (const auto can = diagnosis->canDestroy(); !can) return can.error().message();
              const auto one = find(*diagnosis, textOf(ended.acceptor.local_endpoint()));
              if (!one) return one.error().message();
              if (one->cookie == 0) return "no cookie";
              if (const auto done = diagnosis->destroy(one->id); !done) return done.error().message();
              if (const int error = errorOf(ended.near); error != ECONNABORTED) {
                return "its owner saw " + std::to_string(error);
              }
              const auto again = diagnosis->destroy(one->id);
              if (again || again.error().reason != Reason::not_found) return "it is still there";
              std::array<char, 1> byte{};
              if (::send(other.far.native_handle(), byte.data(), 1, 0) != 1 ||
                  ::recv(other.near.native_handle(), byte.data(), 1, 0) != 1) {
                return "the other one was ended too";
              }
              return "";
            }),
            "");
}

TEST(SockDestroy, EndsAnUnansweredSyn) {
  EXPECT_EQ(inOwnNetwork([]() -> std::string {
              asio::io_context loop;
              const tcp::endpoint nobody(asio::ip::make_address("192.0.2.1"), 443);
              tcp::socket socket(loop, tcp::v4());
              socket.native_non_blocking(true);
              const int begun = ::connect(socket.native_handle(), nobody.data(), nobody.size());
              if (begun == 0 || errno != EINPROGRESS) return "it does not connect";
              const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
              if (!diagnosis) return diagnosis.error().message();
              const auto one = find(*diagnosis, textOf(nobody));
              if (!one) return one.error().message();
              if (one->state != TcpConnection::State::connecting) return "it is not connecting";
              if (const auto done = diagnosis->destroy(one->id); !done) return done.error().message();
              const int seen = errorOf(socket);
              return seen == ECONNABORTED ? "" : "its owner saw " + std::to_string(seen);
            }),
            "");
}

/// A later socket with the same addresses has a different cookie.
TEST(SockDestroy, AnotherCookieMeansAnotherConnection) {
  EXPECT_EQ(inOwnNetwork([]() -> std::string {
              asio::io_context loop;
              Pair pair(loop);
              const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
              if (!diagnosis) return diagnosis.error().message();
              auto one = find(*diagnosis, textOf(pair.acceptor.local_endpoint()));
              if (!one) return one.error().message();
              one->id.id[40] ^= std::byte{1};  // the cookie's lowest bit
              const auto done = diagnosis->destroy(one->id);
              if (done) return "it was ended";
              if (done.error().reason != Reason::not_found) return done.error().message();
              std::array<char, 1> byte{};
              const bool works = ::send(pair.far.native_handle(), byte.data(), 1, 0) == 1 &&
                                 ::recv(pair.near.native_handle(), byte.data(), 1, 0) == 1;
              return works ? "" : "it was ended";
            }),
            "");
}

TEST(SockDestroy, WithoutNetAdminItIsRefusedAndReportedBeforehand) {
  EXPECT_EQ(inOwnNetwork([]() -> std::string {
              asio::io_context loop;
              Pair pair(loop);
              const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
              if (!diagnosis) return diagnosis.error().message();
              const auto one = find(*diagnosis, textOf(pair.acceptor.local_endpoint()));
              if (!one) return one.error().message();
              if (!test::giveUpCapabilities(1U << CAP_NET_ADMIN)) return "capset";
              const auto can = diagnosis->canDestroy();
              if (can || can.error().reason != Reason::not_permitted) return "not reported beforehand";
              const auto done = diagnosis->destroy(one->id);
              if (done) return "it was ended";
              return done.error().reason == Reason::not_permitted ? "" : done.error().message();
            }),
            "");
}

}  // namespace
}  // namespace fallbackd::sys
