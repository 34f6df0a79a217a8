// One unary gRPC call as an Asio coroutine: gRPC's callback thread hands the result to the caller's executor.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <grpcpp/grpcpp.h>

namespace fallbackd::cri {

struct CallOptions {
  std::optional<std::chrono::milliseconds> deadline;
  std::string containerdNamespace;  // sent as the header that containerd's own services want
};

template <class Response>
struct CallResult {
  grpc::Status status;
  Response response;
};

/// `start(context, request, response, done)` begins the call on the stub's async interface. Request and
/// options must be named objects of the caller: GCC 12 destroys aggregate temporaries of a co_await
/// expression twice.
template <class Response, class Request, class Start>
boost::asio::awaitable<CallResult<Response>> unary(Request request, CallOptions options, Start start) {
  struct State {
    grpc::ClientContext context;
    Request request;
    Response response;
  };
  auto state = std::make_shared<State>();
  state->request = std::move(request);
  if (options.deadline) state->context.set_deadline(std::chrono::system_clock::now() + *options.deadline);
  if (!options.containerdNamespace.empty()) {
    state->context.AddMetadata("containerd-namespace", options.containerdNamespace);
  }

  auto initiate = [state, &start](auto handler) {
    // gRPC wants a copyable callback; the handler can only be moved.
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto executor = boost::asio::get_associated_executor(*shared);
    if (auto slot = boost::asio::get_associated_cancellation_slot(*shared); slot.is_connected()) {
      slot.assign([state](boost::asio::cancellation_type) { state->context.TryCancel(); });
    }
    auto work = boost::asio::make_work_guard(executor);
    start(&state->context, &state->request, &state->response,
          [shared, executor, work = std::move(work)](grpc::Status status) mutable {
            boost::asio::post(executor, [shared, status = std::move(status)]() mutable {
              boost::asio::get_associated_cancellation_slot(*shared).clear();
              (*shared)(std::move(status));
            });
            work.reset();
          });
  };
  grpc::Status status =
      co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(grpc::Status)>(
          std::move(initiate), boost::asio::use_awaitable);
  co_return CallResult<Response>{std::move(status), std::move(state->response)};
}

}  // namespace fallbackd::cri
