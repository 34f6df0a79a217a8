// SPDX-License-Identifier: Apache-2.0
// gRPC's health protocol with gRPC's own server, and with the answers of a hostile program.
#include "recovery/grpc_health.hpp"

#include "base/clock.hpp"
#include "recovery/readiness.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

namespace fallbackd::launcher {
namespace {

using testing::HasSubstr;

class GrpcServer : public testing::Test {
 protected:
#ifdef __SANITIZE_THREAD__
  void SetUp() override {
    GTEST_SKIP() << "gRPC's own threads are not instrumented, so TSan sees races there";
  }
#endif
  void start(bool withHealth) {
    grpc::EnableDefaultHealthCheckService(withHealth);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(&unimplemented_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    grpc::EnableDefaultHealthCheckService(false);
    if (server_) server_->Shutdown();
  }
  void serves(const std::string& service, bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(service, serving);
  }
  /// The result of a check; empty: the service serves.
  std::string ask(const std::string& service) {
    boost::asio::io_context loop{1};
    std::optional<Result<>> result;
    boost::asio::co_spawn(loop,
                          askOnce(config::ReadyWhenGrpc{static_cast<std::uint16_t>(port_), service},
                                  {"127.0.0.1"}, std::chrono::seconds(30)),
                          [&](const std::exception_ptr&, Result<> outcome) { result = std::move(outcome); });
    loop.run();
    if (!result) return "no result";
    return *result ? std::string() : result->error().message();
  }

  int port_ = 0;
  grpc::CallbackGenericService unimplemented_;  // a server needs a service: every method is unimplemented
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(GrpcServer, SaysWhetherItServes) {
  ASSERT_NO_FATAL_FAILURE(start(true));
  EXPECT_EQ(ask(""), "");
  serves("shop.Checkout", true);
  EXPECT_EQ(ask("shop.Checkout"), "");
  serves("shop.Checkout", false);
  EXPECT_THAT(ask("shop.Checkout"), HasSubstr("health status NOT_SERVING"));
  const std::string longName(180, 'x');  // its length does not fit in one byte; gRPC's own limit is 200
  serves(longName, true);
  EXPECT_EQ(ask(longName), "");
  serves("", false);
  EXPECT_THAT(ask(""), HasSubstr("health status NOT_SERVING"));
  EXPECT_THAT(ask("shop.Unknown"), HasSubstr("no health status: the service may be unknown"));
}

TEST_F(GrpcServer, WithoutTheHealthServiceIsNotReady) {
  ASSERT_NO_FATAL_FAILURE(start(false));
  EXPECT_THAT(ask(""), HasSubstr("no health status"));
}

std::string frameOf(int type, int flags, int stream, const std::string& payload) {
  std::string out;
  out += static_cast<char>(payload.size() >> 16U);
  out += static_cast<char>(payload.size() >> 8U);
  out += static_cast<char>(payload.size());
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  return out + std::string(3, '\0') + static_cast<char>(stream) + payload;
}

std::string messageOf(const std::string& body) {
  return std::string(4, '\0') + static_cast<char>(body.size()) + body;
}

const std::string kSettings = frameOf(4, 0, 0, "");
const std::string kHeaders = frameOf(1, 4, 1, "\x88");
const std::string kTrailers = frameOf(1, 5, 1, "");
const std::string kServing = messageOf("\x08\x01");

std::string verdictOn(const std::string& bytes) {
  GrpcHealthCheck check;
  check.take(bytes);
  return check.verdict().value_or("more");
}

TEST(GrpcHealth, AnAnswerMayComeByteByByte) {
  GrpcHealthCheck check;
  std::string sent;
  const auto all =
      kSettings + frameOf(6, 0, 0, "12345678") + kHeaders + frameOf(0, 0, 1, kServing) + kTrailers;
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_FALSE(check.verdict()) << "after " << i << " bytes";
    sent += check.take(all.substr(i, 1));
  }
  EXPECT_EQ(check.verdict(), "");
  EXPECT_EQ(sent, frameOf(4, 1, 0, "") + frameOf(6, 1, 0, "12345678"))
      << "settings and ping are acknowledged";
}

TEST(GrpcHealth, WhatCountsIsTheWholeAnswer) {
  const auto answer = [](const std::string& message) {
    return verdictOn(kSettings + kHeaders + frameOf(0, 1, 1, message));
  };
  EXPECT_EQ(answer(kServing), "");
  EXPECT_EQ(verdictOn(kHeaders + frameOf(0, 0, 1, kServing)), "more") << "the answer has not ended";
  EXPECT_EQ(answer(messageOf("\x08\x02")), "health status NOT_SERVING");
  EXPECT_EQ(answer(messageOf("\x08\x03")), "health status SERVICE_UNKNOWN");
  EXPECT_EQ(answer(messageOf("")), "health status UNKNOWN") << "the default of a missing field";
  EXPECT_EQ(answer(messageOf("\x08\x7f")), "health status that is not known");
  EXPECT_EQ(answer(messageOf("\x12\x02"
                             "ab\x08\x01")),
            "")
      << "other fields are skipped";
  EXPECT_EQ(verdictOn(frameOf(0, 9, 1, std::string("\x03") + kServing + "abc")), "") << "padding";
  EXPECT_EQ(verdictOn(frameOf(0, 0, 1, kServing.substr(0, 6)) + frameOf(0, 1, 1, kServing.substr(6))), "");
  for (const auto& bad :
       {std::string("\x01") + kServing.substr(1), kServing.substr(0, 4), kServing + "x", messageOf("\x08"),
        messageOf("\x12\x7f"), messageOf("\x0b"), messageOf(std::string(20, '\xff'))}) {
    EXPECT_EQ(answer(bad), "its answer cannot be read");
  }
}

TEST(GrpcHealth, OthersAreNotReady) {
  EXPECT_EQ(verdictOn("HTTP/1.1 400 Bad Request\r\n\r\n"), "it does not speak gRPC");
  EXPECT_THAT(verdictOn(kSettings + kTrailers), HasSubstr("no health status"));
  EXPECT_THAT(verdictOn(frameOf(3, 0, 1, std::string(4, '\0'))), HasSubstr("RST_STREAM"));
  EXPECT_THAT(verdictOn(frameOf(7, 0, 0, std::string(8, '\0'))), HasSubstr("GOAWAY"));
  EXPECT_THAT(verdictOn(frameOf(7, 0, 0, "")), HasSubstr("GOAWAY"));
  EXPECT_EQ(verdictOn(frameOf(7, 0, 0, std::string("\0\0\0\x01\0\0\0\0", 8))), "more")
      << "our request is still answered";
  EXPECT_EQ(verdictOn(frameOf(0, 0, 1, std::string(2000, 'x'))), "its answer is too long");
  EXPECT_EQ(verdictOn(frameOf(0, 1, 3, kServing)), "more") << "the stream is not ours";
  GrpcHealthCheck silent;
  silent.closed();
  EXPECT_THAT(*silent.verdict(), HasSubstr("closed the connection"));
}

TEST(GrpcHealth, WhatIsReadIsBounded) {
  GrpcHealthCheck check;
  const auto idle = frameOf(8, 0, 0, std::string(4, '\x01'));
  constexpr int kMany = 100'000;
  for (int i = 0; i < kMany && !check.verdict(); ++i) check.take(idle);
  EXPECT_EQ(check.verdict(), "it sends too much");
}

}  // namespace
}  // namespace fallbackd::launcher
