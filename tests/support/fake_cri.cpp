// SPDX-License-Identifier: Apache-2.0
#include "fake_cri.hpp"

#include "containers.grpc.pb.h"
#include "content.grpc.pb.h"
#include "event_types.pb.h"
#include "events.grpc.pb.h"
#include "runtime.grpc.pb.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <set>

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

namespace fallbackd::e2e {

namespace {

namespace v1 = ::runtime::v1;
namespace containers = ::containerd::services::containers::v1;
namespace content = ::containerd::services::content::v1;
namespace events = ::containerd::services::events::v1;
namespace types = ::containerd::events;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

constexpr auto kShutdown = std::chrono::seconds(1);
constexpr const char* kNamespace = "k8s.io";

Unary* finish(Context* context, const grpc::Status& status = {}) {
  auto* const reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

/// State that the services share.
struct State {
  explicit State(FakeCri::Puller givenPuller) : puller(std::move(givenPuller)) {}

  FakeCri::Puller puller;
  std::mutex mutex;
  std::map<std::string, FakePod> pods;    // guarded by mutex
  std::set<class Subscriber*> listening;  // guarded by mutex
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> pulls{0};
  std::atomic<std::uint64_t> pullsRunning{0};
  std::atomic<std::uint64_t> pullsAtOnce{0};
};

/// A subscription. It deletes itself when gRPC no longer needs it.
class Subscriber final : public grpc::ServerWriteReactor<events::Envelope> {
 public:
  explicit Subscriber(State& state) : state_(state) {
    const std::lock_guard lock(state_.mutex);
    state_.listening.insert(this);
  }

  /// Called with the state's mutex held.
  void push(const events::Envelope& envelope) {
    queue_.push_back(envelope);
    if (queue_.size() == 1 && !ended_) StartWrite(&queue_.front());
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(state_.mutex);
    queue_.pop_front();
    if (ok && !queue_.empty() && !ended_) StartWrite(&queue_.front());
  }

  void OnCancel() override {
    {
      const std::lock_guard lock(state_.mutex);
      state_.listening.erase(this);
      ended_ = true;
    }
    Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  State& state_;
  std::deque<events::Envelope> queue_;  // the first is being written
  bool ended_ = false;
};

/// Called with the mutex held.
void publish(State& state, const std::string& topic, const google::protobuf::Any& event) {
  events::Envelope envelope;
  *envelope.mutable_timestamp() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::system_clock::now().time_since_epoch())
          .count());
  envelope.set_namespace_(kNamespace);
  envelope.set_topic(topic);
  *envelope.mutable_event() = event;
  for (auto* const subscriber : state.listening) subscriber->push(envelope);
}

template <class Message>
void publish(State& state, const std::string& topic, const Message& message) {
  google::protobuf::Any any;
  any.set_type_url(std::string(Message::descriptor()->full_name()));
  any.set_value(message.SerializeAsString());
  publish(state, topic, any);
}

class EventService final : public events::Events::CallbackService {
 public:
  explicit EventService(State& state) : state_(state) {}

  Unary* Publish(Context* context, const events::PublishRequest* request,
                 google::protobuf::Empty* /*answer*/) override {
    {
      const std::lock_guard lock(state_.mutex);
      publish(state_, request->topic(), request->event());
    }
    return finish(context);
  }

  grpc::ServerWriteReactor<events::Envelope>* Subscribe(
      Context* /*context*/, const events::SubscribeRequest* /*request*/) override {
    return new Subscriber(state_);
  }

 private:
  State& state_;
};

/// A pull that is never answered.
class SilentPull final : public Unary {
 public:
  explicit SilentPull(State& state) : state_(state) {}
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override {
    --state_.pullsRunning;
    delete this;
  }

 private:
  State& state_;
};

class ImageService final : public v1::ImageService::CallbackService {
 public:
  explicit ImageService(State& state) : state_(state) {}

  Unary* ImageStatus(Context* context, const v1::ImageStatusRequest* /*request*/,
                     v1::ImageStatusResponse* /*answer*/) override {
    ++state_.calls;
    return finish(context);
  }

  Unary* PullImage(Context* context, const v1::PullImageRequest* request,
                   v1::PullImageResponse* /*answer*/) override {
    ++state_.calls;
    ++state_.pulls;
    const auto pull = state_.puller(request->image().image());
    if (pull.end == FakePull::End::at_once) return finish(context, pull.status);
    const auto running = ++state_.pullsRunning;
    auto most = state_.pullsAtOnce.load();
    while (most < running && !state_.pullsAtOnce.compare_exchange_weak(most, running)) {
    }
    return new SilentPull(state_);
  }

 private:
  State& state_;
};

template <class Message>  // PodSandbox of a list, or PodSandboxStatus
void describe(const FakePod& pod, Message& message) {
  message.set_id(pod.id);
  message.mutable_metadata()->set_name(pod.name);
  message.mutable_metadata()->set_namespace_(pod.namespaceName);
  message.mutable_metadata()->set_uid(pod.uid);
  message.set_state(v1::SANDBOX_READY);
  message.mutable_labels()->insert(pod.labels.begin(), pod.labels.end());
  message.mutable_annotations()->insert(pod.annotations.begin(), pod.annotations.end());
}

class RuntimeService final : public v1::RuntimeService::CallbackService {
 public:
  explicit RuntimeService(State& state) : state_(state) {}

  Unary* Version(Context* context, const v1::VersionRequest* /*request*/,
                 v1::VersionResponse* answer) override {
    answer->set_runtime_name("containerd");
    answer->set_runtime_version("0.0.0-fake");
    return finish(context);
  }

  Unary* Status(Context* context, const v1::StatusRequest* /*request*/,
                v1::StatusResponse* /*answer*/) override {
    return finish(context);
  }

  Unary* ListPodSandbox(Context* context, const v1::ListPodSandboxRequest* /*request*/,
                        v1::ListPodSandboxResponse* answer) override {
    ++state_.calls;
    {
      const std::lock_guard lock(state_.mutex);
      for (const auto& [id, pod] : state_.pods) describe(pod, *answer->add_items());
    }
    return finish(context);
  }

  Unary* PodSandboxStatus(Context* context, const v1::PodSandboxStatusRequest* request,
                          v1::PodSandboxStatusResponse* answer) override {
    ++state_.calls;
    const std::lock_guard lock(state_.mutex);
    const auto pod = state_.pods.find(request->pod_sandbox_id());
    if (pod == state_.pods.end()) return finish(context, {grpc::StatusCode::NOT_FOUND, "sandbox: not found"});
    describe(pod->second, *answer->mutable_status());
    answer->mutable_status()->mutable_network()->set_ip(pod->second.ip);
    answer->mutable_status()->mutable_linux()->mutable_namespaces()->mutable_options()->set_pid(
        v1::CONTAINER);
    if (request->verbose()) (*answer->mutable_info())["info"] = pod->second.info;
    return finish(context);
  }

  Unary* ListContainers(Context* context, const v1::ListContainersRequest* /*request*/,
                        v1::ListContainersResponse* /*answer*/) override {
    ++state_.calls;
    return finish(context);
  }

  Unary* ContainerStatus(Context* context, const v1::ContainerStatusRequest* /*request*/,
                         v1::ContainerStatusResponse* /*answer*/) override {
    return finish(context, {grpc::StatusCode::NOT_FOUND, "container: not found"});
  }

 private:
  State& state_;
};

class ContainerService final : public containers::Containers::CallbackService {
 public:
  explicit ContainerService(State& state) : state_(state) {}

  Unary* Get(Context* context, const containers::GetContainerRequest* request,
             containers::GetContainerResponse* answer) override {
    ++state_.calls;
    const std::lock_guard lock(state_.mutex);
    const auto found = state_.pods.find(request->id());
    if (found == state_.pods.end())
      return finish(context, {grpc::StatusCode::NOT_FOUND, "container: not found"});
    const auto& pod = found->second;
    auto& labels = *answer->mutable_container()->mutable_labels();
    labels.insert(pod.labels.begin(), pod.labels.end());
    labels["io.cri-containerd.kind"] = "sandbox";
    answer->mutable_container()->set_id(pod.id);
    return finish(context);
  }

 private:
  State& state_;
};

class ContentService final : public content::Content::CallbackService {
 public:
  class Nothing final : public grpc::ServerWriteReactor<content::ListContentResponse> {
   public:
    Nothing() { Finish({}); }
    void OnDone() override { delete this; }
  };
  grpc::ServerWriteReactor<content::ListContentResponse>* List(
      Context* /*context*/, const content::ListContentRequest* /*request*/) override {
    return new Nothing;
  }
  Unary* ListStatuses(Context* context, const content::ListStatusesRequest* /*request*/,
                      content::ListStatusesResponse* /*answer*/) override {
    return finish(context);
  }
};

}  // namespace

struct FakeCri::Server {
  explicit Server(Puller puller)
      : state(std::move(puller)), runtime(state), images(state), containers(state), events(state) {}

  State state;
  RuntimeService runtime;
  ImageService images;
  ContainerService containers;
  ContentService content;
  EventService events;
  std::unique_ptr<grpc::Server> server;
};

FakeCri::FakeCri() = default;

Result<std::unique_ptr<FakeCri>> FakeCri::start(const std::filesystem::path& socket, Puller puller) {
  std::unique_ptr<FakeCri> cri(new FakeCri);
  cri->server_ = std::make_unique<Server>(std::move(puller));
  auto& parts = *cri->server_;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket.string(), grpc::InsecureServerCredentials());
  for (grpc::Service* const service : std::initializer_list<grpc::Service*>{
           &parts.runtime, &parts.images, &parts.containers, &parts.content, &parts.events}) {
    builder.RegisterService(service);
  }
  parts.server = builder.BuildAndStart();
  if (parts.server == nullptr) return fail(Stage::cli, Reason::unavailable, "serve on " + socket.string());
  return cri;
}

FakeCri::~FakeCri() {
  if (server_->server == nullptr) return;
  server_->server->Shutdown(std::chrono::system_clock::now() + kShutdown);
  server_->server->Wait();
}

void FakeCri::add(FakePod pod) {
  pod.labels["io.kubernetes.pod.name"] = pod.name;
  pod.labels["io.kubernetes.pod.namespace"] = pod.namespaceName;
  pod.labels["io.kubernetes.pod.uid"] = pod.uid;
  types::ContainerCreate created;
  created.set_id(pod.id);
  types::TaskStart started;
  started.set_container_id(pod.id);
  auto& state = server_->state;
  const std::lock_guard lock(state.mutex);
  const std::string id = pod.id;
  state.pods[id] = std::move(pod);
  publish(state, "/containers/create", created);
  publish(state, "/tasks/start", started);
}

void FakeCri::remove(const std::string& id) {
  types::TaskExit exited;
  exited.set_container_id(id);
  exited.set_id(id);
  types::ContainerDelete deleted;
  deleted.set_id(id);
  auto& state = server_->state;
  const std::lock_guard lock(state.mutex);
  if (state.pods.erase(id) == 0) return;
  publish(state, "/tasks/exit", exited);
  publish(state, "/containers/delete", deleted);
}

FakeCri::Counts FakeCri::counts() const {
  const auto& state = server_->state;
  return {state.calls, state.pulls, state.pullsAtOnce};
}

}  // namespace fallbackd::e2e
