// SPDX-License-Identifier: Apache-2.0
// Calls of cri::Control that are cancelled while containerd works on them.
#include "cri/grpc_control.hpp"
#include "run_until.hpp"
#include "runtime.grpc.pb.h"
#include "temp_folder.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

namespace fallbackd::cri {
namespace {

namespace v1 = ::runtime::v1;
using namespace std::chrono_literals;

constexpr auto kCeiling = 30s;

/// Works on each call until the test lets it end.
class SlowRuntime final : public v1::RuntimeService::Service {
 public:
  grpc::Status StartContainer(grpc::ServerContext* context, const v1::StartContainerRequest* /*request*/,
                              v1::StartContainerResponse* /*response*/) override {
    return work(*context);
  }
  grpc::Status StopContainer(grpc::ServerContext* context, const v1::StopContainerRequest* /*request*/,
                             v1::StopContainerResponse* /*response*/) override {
    return work(*context);
  }
  grpc::Status RemoveContainer(grpc::ServerContext* /*context*/,
                               const v1::RemoveContainerRequest* /*request*/,
                               v1::RemoveContainerResponse* /*response*/) override {
    return grpc::Status::OK;
  }

  std::promise<void> begun;
  std::promise<void> mayEnd;
  std::promise<void> ended;
  std::atomic<bool> cutOff = false;

 private:
  grpc::Status work(const grpc::ServerContext& context) {
    begun.set_value();
    mayEnd.get_future().wait_for(kCeiling);
    cutOff = context.IsCancelled();
    ended.set_value();
    return grpc::Status::OK;
  }
};

class Calls : public testing::Test {
 protected:
  using Call = std::function<Awaitable<Result<>>()>;

  void SetUp() override {
    const auto address = "unix:" + folder_.path() + "/sock";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&runtime_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    control_ = makeControl(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()), "k8s.io");
  }
  void TearDown() override { server_->Shutdown(); }

  /// Cancels the call while the server works on it; returns the call's result.
  std::optional<Result<>> cancelled(const Call& call) {
    std::optional<Result<>> result;
    int ended = 0;
    boost::asio::cancellation_signal signal;
    boost::asio::co_spawn(loop_, call(),
                          boost::asio::bind_cancellation_slot(
                              signal.slot(), [&](const std::exception_ptr& error, Result<> done) {
                                if (error == nullptr) result = std::move(done);
                                ++ended;
                              }));
    const auto cancel = std::async(std::launch::async, [&] {
      EXPECT_EQ(runtime_.begun.get_future().wait_for(kCeiling), std::future_status::ready);
      boost::asio::post(loop_, [&] {
        signal.emit(boost::asio::cancellation_type::terminal);
        // It follows the cancellation on the same connection: its answer means that the server has seen both.
        boost::asio::co_spawn(loop_, control_->removeContainer("another"),
                              [&](const std::exception_ptr&, const Result<>&) {
                                runtime_.mayEnd.set_value();
                                ++ended;
                              });
      });
    });
    EXPECT_TRUE(test::runUntil(loop_, [&] { return ended == 2; }));
    EXPECT_EQ(runtime_.ended.get_future().wait_for(kCeiling), std::future_status::ready);
    return result;
  }

  test::TempFolder folder_;
  SlowRuntime runtime_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Control> control_;
  boost::asio::io_context loop_;
};

TEST_F(Calls, AStartIsNotCutOff) {
  const auto result = cancelled([&] { return control_->startContainer("one"); });
  ASSERT_TRUE(result) << "it ended without a result";
  EXPECT_TRUE(*result);
  EXPECT_FALSE(runtime_.cutOff);
}

TEST_F(Calls, OtherCallsAreCutOff) {
  cancelled([&] { return control_->stopContainer("one", 0s); });
  EXPECT_TRUE(runtime_.cutOff) << "otherwise the other test proves nothing";
}

}  // namespace
}  // namespace fallbackd::cri
