// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_channel.hpp"

#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

namespace fallbackd::cri {

namespace {

constexpr int kMaxMessageBytes = 64 << 20;

class Counter final : public grpc::experimental::Interceptor {
 public:
  Counter(std::shared_ptr<CallCounts> counts, std::string_view path) : counts_(std::move(counts)) {
    // "/runtime.v1.ImageService/PullImage" without the package
    const auto slash = path.rfind('/');
    const auto dot = path.rfind('.', slash);
    method_ = path.substr(dot == std::string_view::npos ? 1 : dot + 1);
  }
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      counts_->count(method_);
    }
    methods->Proceed();
  }

 private:
  std::shared_ptr<CallCounts> counts_;
  std::string method_;
};

class CounterFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit CounterFactory(std::shared_ptr<CallCounts> counts) : counts_(std::move(counts)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    return new Counter(counts_, info->method());  // gRPC owns it
  }

 private:
  std::shared_ptr<CallCounts> counts_;
};

/// gRPC 1.51 ends its callback threads with the last channel. If the last reference is released on one of
/// these threads (by a call that has just ended), it aborts. So channels live as long as the process.
void keepUntilExit(std::shared_ptr<grpc::Channel> channel) {
  static std::mutex guard;
  static auto* const kept = new std::vector<std::shared_ptr<grpc::Channel>>;  // never destroyed
  const std::lock_guard lock(guard);
  kept->push_back(std::move(channel));
}

}  // namespace

std::shared_ptr<grpc::Channel> makeChannel(const std::string& socketPath,
                                           std::shared_ptr<CallCounts> counts) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // containerd may be restarted at any time: reconnect within a fraction of a second.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A local socket needs no proxy, and no service configuration from the network.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<CounterFactory>(std::move(counts)));
  auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(
      "unix:" + socketPath, grpc::InsecureChannelCredentials(), arguments, std::move(interceptors));
  keepUntilExit(channel);
  return channel;
}

}  // namespace fallbackd::cri
