// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_events.hpp"

#include "base/async/event.hpp"
#include "cri/call.hpp"
#include "cri/grpc_error.hpp"
#include "event_types.pb.h"
#include "events.grpc.pb.h"

#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>

namespace fallbackd::cri {

namespace {

namespace asio = boost::asio;
namespace events = ::containerd::services::events::v1;
namespace types = ::containerd::events;
using namespace std::chrono_literals;

// If the daemon cannot keep up with this many events, it resubscribes and starts again from lists.
constexpr std::size_t kMaxQueued = 65536;
constexpr auto kSubscribeDeadline = 5s;
constexpr auto kGreetingInterval = 50ms;
constexpr const char* kGreetingTopic = "/fallbackd/subscribed";

Stamp toStamp(const google::protobuf::Timestamp& timestamp) {
  const auto wall = Wall::time_point(std::chrono::duration_cast<Wall::duration>(
      std::chrono::seconds(timestamp.seconds()) + std::chrono::nanoseconds(timestamp.nanos())));
  const auto now = Clock::system().now();
  const auto age = Clock::system().wall() - wall;
  // A step of the wall clock must not make an event older than a minute or put it into the future.
  if (age < 0s || age > 60s) return now;
  return now - std::chrono::duration_cast<Monotonic::duration>(age);
}

template <class Message>
std::optional<Message> unpack(const google::protobuf::Any& any) {
  Message message;
  // containerd's type URLs are plain names without a host, so UnpackTo does not know them.
  if (!message.ParseFromString(any.value())) return std::nullopt;
  return message;
}

std::optional<Event> toEvent(const events::Envelope& envelope) {
  const auto at = toStamp(envelope.timestamp());
  const std::string& topic = envelope.topic();
  if (topic == "/tasks/start") {
    if (auto body = unpack<types::TaskStart>(envelope.event())) {
      return Event{Event::Kind::task_started, body->container_id(), at};
    }
  } else if (topic == "/tasks/exit") {
    auto body = unpack<types::TaskExit>(envelope.event());
    // An exec's exit has the exec's name in `id`; only the container's own process matters.
    if (body && body->id() == body->container_id()) {
      return Event{Event::Kind::task_exited, body->container_id(), at, static_cast<int>(body->exit_status())};
    }
  } else if (topic == "/containers/create") {
    if (auto body = unpack<types::ContainerCreate>(envelope.event())) {
      return Event{Event::Kind::container_created, body->id(), at};
    }
  } else if (topic == "/containers/delete") {
    if (auto body = unpack<types::ContainerDelete>(envelope.event())) {
      return Event{Event::Kind::container_deleted, body->id(), at};
    }
  } else if (topic == "/images/create" || topic == "/images/update") {
    // ImageCreate and ImageUpdate have the same form.
    if (auto body = unpack<types::ImageCreate>(envelope.event())) {
      return Event{Event::Kind::image_arrived, body->name(), at};
    }
  }
  return std::nullopt;
}

/// Shared by the reactor (gRPC's threads) and the stream (our thread). Touched only on the executor.
struct Queue {
  explicit Queue(const asio::any_io_executor& executor) : changed(executor) {}

  fallbackd::Event changed;
  std::deque<Event> events;
  bool accepted = false;  // our own greeting came back
  std::optional<grpc::Status> ended;
};

/// Deletes itself when gRPC is done with it.
class Reactor final : public grpc::ClientReadReactor<events::Envelope> {
 public:
  Reactor(events::Events::Stub& stub, std::shared_ptr<grpc::ClientContext> context,
          asio::any_io_executor executor, std::shared_ptr<Queue> queue,
          const events::SubscribeRequest& request)
      : context_(std::move(context)),
        executor_(std::move(executor)),
        queue_(std::move(queue)),
        request_(request) {
    stub.async()->Subscribe(context_.get(), &request_, this);
    StartRead(&envelope_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    if (envelope_.topic() == kGreetingTopic) {
      asio::post(executor_, [queue = queue_] {
        queue->accepted = true;
        queue->changed.notify();
      });
    } else if (auto event = toEvent(envelope_)) {
      asio::post(executor_, [queue = queue_, context = context_, event = std::move(*event)]() mutable {
        if (queue->events.size() >= kMaxQueued) {
          context->TryCancel();
          return;
        }
        queue->events.push_back(std::move(event));
        queue->changed.notify();
      });
    }
    StartRead(&envelope_);
  }

  void OnDone(const grpc::Status& status) override {
    asio::post(executor_, [queue = queue_, status] {
      queue->ended = status;
      queue->changed.notify();
    });
    delete this;
  }

 private:
  std::shared_ptr<grpc::ClientContext> context_;
  asio::any_io_executor executor_;
  std::shared_ptr<Queue> queue_;
  events::SubscribeRequest request_;
  events::Envelope envelope_;
};

class GrpcEventStream final : public EventStream {
 public:
  GrpcEventStream(std::shared_ptr<grpc::ClientContext> context, std::shared_ptr<Queue> queue)
      : context_(std::move(context)), queue_(std::move(queue)) {}
  GrpcEventStream(const GrpcEventStream&) = delete;
  GrpcEventStream& operator=(const GrpcEventStream&) = delete;
  ~GrpcEventStream() override { context_->TryCancel(); }

  Awaitable<Result<Event>> next() override {
    while (queue_->events.empty()) {
      if (queue_->ended) co_return failCall(Stage::containerd, "event stream", *queue_->ended);
      co_await queue_->changed.wait();
    }
    Event event = std::move(queue_->events.front());
    queue_->events.pop_front();
    co_return event;
  }

 private:
  std::shared_ptr<grpc::ClientContext> context_;
  std::shared_ptr<Queue> queue_;
};

class GrpcEventSource final : public EventSource {
 public:
  GrpcEventSource(const std::shared_ptr<grpc::Channel>& channel, std::string containerdNamespace,
                  asio::any_io_executor executor)
      : stub_(events::Events::NewStub(channel)),
        namespace_(std::move(containerdNamespace)),
        executor_(std::move(executor)) {}

  Awaitable<Result<std::unique_ptr<EventStream>>> subscribe() override {
    auto context = std::make_shared<grpc::ClientContext>();
    context->AddMetadata("containerd-namespace", namespace_);
    auto queue = std::make_shared<Queue>(executor_);
    events::SubscribeRequest request;
    // One filter per entry; they are alternatives. Other namespaces (moby, ...) do not concern us.
    for (const std::string_view topic :
         {"/tasks/start", "/tasks/exit", "/containers/create", "/containers/delete", "/images/create",
          "/images/update", kGreetingTopic}) {
      request.add_filters("topic==\"" + std::string(topic) + "\",namespace==\"" + namespace_ + "\"");
    }
    auto stream = std::make_unique<GrpcEventStream>(context, queue);
    new Reactor(*stub_, context, executor_, queue, request);  // owns itself

    // containerd acknowledges a subscription only with its first event, so we publish one ourselves: once it
    // arrives, no later event can be missed. If it overtook the subscription, it is published again.
    const auto& clock = LoopClock::of(executor_);
    const auto deadline = clock.now() + kSubscribeDeadline;
    while (!queue->accepted && !queue->ended && clock.now() < deadline) {
      const auto greeted = co_await greet();
      if (!greeted) co_return tl::unexpected<Error>(greeted.error());
      if (queue->accepted) break;
      co_await queue->changed.waitFor(kGreetingInterval);
    }
    if (queue->ended) co_return failCall(Stage::containerd, "Subscribe", *queue->ended);
    if (!queue->accepted) co_return fail(Stage::containerd, Reason::timeout, "Subscribe: no event came back");
    co_return std::unique_ptr<EventStream>(std::move(stream));
  }

 private:
  Awaitable<Result<>> greet() {
    events::PublishRequest request;
    request.set_topic(kGreetingTopic);
    // A type that every reader of containerd's events knows; the id does not belong to any container.
    types::ContainerDelete body;
    body.set_id("fallbackd-subscribed");
    request.mutable_event()->set_type_url("containerd.events.ContainerDelete");
    request.mutable_event()->set_value(body.SerializeAsString());
    const CallOptions options{kSubscribeDeadline, namespace_};
    const auto call = co_await unary<google::protobuf::Empty>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          stub_->async()->Publish(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Events.Publish", call.status);
    co_return Result<>{};
  }

  std::unique_ptr<events::Events::Stub> stub_;
  std::string namespace_;
  asio::any_io_executor executor_;
};

}  // namespace

std::unique_ptr<EventSource> makeEventSource(std::shared_ptr<grpc::Channel> channel,
                                             std::string containerdNamespace,
                                             asio::any_io_executor executor) {
  return std::make_unique<GrpcEventSource>(channel, std::move(containerdNamespace), std::move(executor));
}

}  // namespace fallbackd::cri
