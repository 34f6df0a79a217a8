// SPDX-License-Identifier: Apache-2.0
// One unary gRPC call as an Asio coroutine: gRPC's callback thread passes the result to the caller's
// executor.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

namespace fallbackd::cri {

struct CallOptions {
  std::optional<std::chrono::milliseconds> deadline;
  std::string containerdNamespace;  // sent as the header that containerd's own services require
  std::string lease = {};           // protects what the call writes from containerd's garbage collection
  /// A cancellation does not interrupt the call: the caller first gets its result, at the latest at the
  /// deadline. For calls that containerd cannot undo halfway.
  bool finishes = false;
};

template <class Response>
struct CallResult {
  grpc::Status status;
  Response response;
};

inline void prepare(grpc::ClientContext& context, const CallOptions& options) {
  if (options.deadline) context.set_deadline(Clock::system().wall() + *options.deadline);
  if (!options.containerdNamespace.empty()) {
    context.AddMetadata("containerd-namespace", options.containerdNamespace);
  }
  if (!options.lease.empty()) context.AddMetadata("containerd-lease", options.lease);
}

/// A callback for gRPC's threads that completes `handler` on its own executor; until then a cancellation
/// cancels the call, if it has a `context`. gRPC requires a copyable callback and the handler is move-only,
/// so the handler is shared.
template <class Handler>
std::function<void(grpc::Status)> handOver(std::shared_ptr<Handler> handler,
                                           std::shared_ptr<grpc::ClientContext> context) {
  auto executor = boost::asio::get_associated_executor(*handler);
  auto slot = boost::asio::get_associated_cancellation_slot(*handler);
  if (context != nullptr && slot.is_connected()) {
    slot.assign([context](boost::asio::cancellation_type) { context->TryCancel(); });
  }
  auto work = std::make_shared<boost::asio::executor_work_guard<decltype(executor)>>(executor);
  return [handler, executor, work](grpc::Status status) {
    boost::asio::post(executor, [handler, status = std::move(status)]() mutable {
      boost::asio::get_associated_cancellation_slot(*handler).clear();
      (*handler)(std::move(status));
    });
    work->reset();
  };
}

/// `start(context, request, response, done)` starts the call on the stub's async interface. Request and
/// options must be named objects of the caller: GCC 12 destroys aggregate temporaries in a co_await
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
  prepare(state->context, options);

  auto initiate = [state, &start, finishes = options.finishes](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    // The callback owns the state: gRPC uses it until the callback has run.
    std::shared_ptr<grpc::ClientContext> context;
    if (!finishes) context = {state, &state->context};
    start(&state->context, &state->request, &state->response,
          [state, done = handOver(shared, context)](grpc::Status status) { done(std::move(status)); });
  };
  grpc::Status status =
      co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(grpc::Status)>(
          std::move(initiate), boost::asio::use_awaitable);
  co_return CallResult<Response>{std::move(status), std::move(state->response)};
}

/// Collects the parts of a stream. Keeps itself alive until gRPC is done with it.
template <class Base, class Part, class Request>
struct Collector final : Base {
  void OnReadDone(bool ok) override {
    if (!ok) return;              // OnDone follows
    part.DiscardUnknownFields();  // they may be most of the message
    parts.push_back(std::move(part));
    part = Part();
    this->StartRead(&part);
  }
  void OnDone(const grpc::Status& status) override {
    const auto self = std::move(keep);
    done(status);
  }
  grpc::ClientContext context;
  Request request;
  Part part;
  std::vector<Part> parts;
  std::function<void(grpc::Status)> done;
  std::shared_ptr<Collector> keep;
};

/// `begin(collector)` hands the call to gRPC, before anything is read.
template <class Base, class Part, class Request, class Begin>
boost::asio::awaitable<CallResult<std::vector<Part>>> collect(Request request, CallOptions options,
                                                              Begin begin) {
  auto collector = std::make_shared<Collector<Base, Part, Request>>();
  collector->request = std::move(request);
  prepare(collector->context, options);

  auto initiate = [collector, &begin](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    collector->done = handOver(shared, std::shared_ptr<grpc::ClientContext>(collector, &collector->context));
    collector->keep = collector;
    begin(*collector);
    collector->StartRead(&collector->part);
    collector->StartCall();
  };
  grpc::Status status =
      co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(grpc::Status)>(
          std::move(initiate), boost::asio::use_awaitable);
  co_return CallResult<std::vector<Part>>{std::move(status), std::move(collector->parts)};
}

/// The same for a call that returns a stream; collects all parts. `start(context, request, reactor)`.
template <class Part, class Request, class Start>
boost::asio::awaitable<CallResult<std::vector<Part>>> serverStream(Request request, CallOptions options,
                                                                   Start start) {
  return collect<grpc::ClientReadReactor<Part>, Part>(
      std::move(request), std::move(options), [start = std::move(start)](auto& collector) {
        start(&collector.context, &collector.request, &collector);
      });
}

/// The same for a call with a stream in each direction; sends one message. `start(context, reactor)`.
template <class Part, class Request, class Start>
boost::asio::awaitable<CallResult<std::vector<Part>>> exchange(Request request, CallOptions options,
                                                               Start start) {
  return collect<grpc::ClientBidiReactor<Request, Part>, Part>(
      std::move(request), std::move(options), [start = std::move(start)](auto& collector) {
        start(&collector.context, &collector);
        collector.StartWriteLast(&collector.request, grpc::WriteOptions());
      });
}

}  // namespace fallbackd::cri
