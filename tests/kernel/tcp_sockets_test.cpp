// SPDX-License-Identifier: Apache-2.0
// The kernel's data about TCP connections, read for real connections over loopback.
#include "sys/tcp_sockets.hpp"

#include <array>
#include <sys/types.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

TEST(TcpSockets, ReceivedAndUnreadBytesAreCounted) {
  asio::io_context loop;
  tcp::acceptor acceptor(loop, {asio::ip::address_v4::loopback(), 0});
  tcp::socket near(loop);
  near.connect(acceptor.local_endpoint());
  tcp::socket far = acceptor.accept();

  const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
  ASSERT_TRUE(diagnosis) << diagnosis.error().message();
  const auto sum = [&] {
    TcpConnection all;
    const auto received = diagnosis->receivedBy(::getpid());
    EXPECT_TRUE(received) << received.error().message();
    for (const auto& [inode, one] : received.value_or(TcpConnections{})) {
      all.bytes += one.bytes;
      all.unread += one.unread;
    }
    return all;
  };
  const auto before = sum();
  std::array<char, 1000> data{};
  asio::write(far, asio::buffer(data));
  near.wait(tcp::socket::wait_read);
  EXPECT_EQ(sum().bytes, before.bytes + data.size());
  EXPECT_EQ(sum().unread, before.unread + data.size());
  asio::read(near, asio::buffer(data));
  EXPECT_EQ(sum().bytes, before.bytes + data.size());
  EXPECT_EQ(sum().unread, before.unread);
}

TEST(TcpSockets, ListenersOfAPortAreDistinguished) {
  asio::io_context loop;
  const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
  ASSERT_TRUE(diagnosis) << diagnosis.error().message();
  using SharePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;
  tcp::acceptor first(loop, tcp::v4());
  first.set_option(SharePort(true));
  first.bind({asio::ip::address_v4::loopback(), 0});
  const auto port = first.local_endpoint().port();
  EXPECT_EQ(diagnosis->listenersOn(port)->size(), 0U) << "bound, but it does not listen";
  first.listen();
  const auto before = diagnosis->listenersOn(port);
  ASSERT_TRUE(before) << before.error().message();
  EXPECT_EQ(before->size(), 1U);
  tcp::acceptor second(loop, tcp::v4());
  second.set_option(SharePort(true));
  second.bind(first.local_endpoint());
  second.listen();
  tcp::acceptor elsewhere(loop, {asio::ip::address_v4::loopback(), 0});
  EXPECT_EQ(diagnosis->listenersOn(port)->size(), 2U);
  first.close();
  const auto after = diagnosis->listenersOn(port);
  ASSERT_EQ(after->size(), 1U);
  EXPECT_FALSE(before->contains(*after->begin()));
}

TEST(TcpSockets, AMissingProcessIsAnError) {
  const auto diagnosis = TcpDiagnosis::open(Stage::detection, ::getpid());
  ASSERT_TRUE(diagnosis) << diagnosis.error().message();
  EXPECT_FALSE(diagnosis->receivedBy(-1));
}

}  // namespace
}  // namespace fallbackd::sys
