// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_control.hpp"

#include "base/clock.hpp"
#include "content.grpc.pb.h"
#include "cri/call.hpp"
#include "cri/container_info.hpp"
#include "cri/grpc_error.hpp"
#include "event_types.pb.h"
#include "events.grpc.pb.h"
#include "images.grpc.pb.h"
#include "leases.grpc.pb.h"
#include "runtime.grpc.pb.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <utility>

namespace fallbackd::cri {

namespace {

namespace v1 = ::runtime::v1;
namespace blobs = ::containerd::services::content::v1;
namespace stored = ::containerd::services::images::v1;
namespace leased = ::containerd::services::leases::v1;
namespace happenings = ::containerd::services::events::v1;
using namespace std::chrono_literals;

constexpr auto kControlDeadline = 10s;
constexpr auto kCleanupDeadline = 30s;  // the runtime examines all its content
constexpr auto kStartDeadline = 30s;    // creating and starting: a loaded node takes seconds
// containerd 2.1 leaves a start that is cut off "in starting state" for 5 s, and its shim for good.
const CallOptions kStarting{kStartDeadline, {}, {}, true};
constexpr auto kStopMargin = 10s;         // beyond the grace
constexpr auto kLeaseTime = 1min;         // if nobody deletes it
constexpr std::size_t kPiece = 4U << 20;  // containerd takes messages of up to 16 MiB

// kubelet's own lists.
constexpr std::array kMasked{"/proc/asound",
                             "/proc/acpi",
                             "/proc/kcore",
                             "/proc/keys",
                             "/proc/latency_stats",
                             "/proc/timer_list",
                             "/proc/timer_stats",
                             "/proc/sched_debug",
                             "/proc/scsi",
                             "/sys/firmware",
                             "/sys/devices/virtual/powercap"};
constexpr std::array kReadOnly{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

v1::NamespaceMode fromMode(NamespaceMode mode) {
  if (mode == NamespaceMode::node) return v1::NODE;
  return mode == NamespaceMode::container ? v1::CONTAINER : v1::POD;
}

template <class Map>
void put(const Labels& from, Map& to) {
  for (const auto& [key, value] : from) to[key] = value;
}

/// Fills in what containerd reads from the sandbox's configuration when it creates a container.
void describe(const SandboxStatus& from, v1::PodSandboxConfig& to) {
  auto& metadata = *to.mutable_metadata();
  metadata.set_name(from.sandbox.podName);
  metadata.set_uid(from.sandbox.podUid);
  metadata.set_namespace_(from.sandbox.podNamespace);
  metadata.set_attempt(from.sandbox.attempt);
  to.set_hostname(from.hostname);
  to.set_log_directory(from.logDirectory);
  to.mutable_linux()->set_cgroup_parent(from.cgroupParent);
  put(from.sandbox.labels, *to.mutable_labels());
  put(from.sandbox.annotations, *to.mutable_annotations());
}

void describe(const SandboxStatus& sandbox, const ContainerOrder& from, v1::ContainerConfig& to) {
  to.mutable_metadata()->set_name(from.name);
  to.mutable_metadata()->set_attempt(from.attempt);
  to.mutable_image()->set_image(from.image);
  for (const auto& word : from.command) to.add_command(word);
  for (const auto& [name, value] : from.env) {
    auto& variable = *to.add_envs();
    variable.set_key(name);
    variable.set_value(value);
  }
  to.set_log_path(from.logPath);
  put(from.labels, *to.mutable_labels());
  put(from.annotations, *to.mutable_annotations());
  auto& security = *to.mutable_linux()->mutable_security_context();
  auto& namespaces = *security.mutable_namespace_options();
  namespaces.set_network(fromMode(sandbox.network));
  namespaces.set_pid(fromMode(sandbox.pid));
  namespaces.set_ipc(fromMode(sandbox.ipc));
  security.mutable_run_as_user()->set_value(from.user);
  security.mutable_run_as_group()->set_value(from.group);
  security.set_readonly_rootfs(true);
  security.set_no_new_privs(true);
  security.mutable_capabilities()->add_drop_capabilities("ALL");
  security.mutable_seccomp()->set_profile_type(v1::SecurityProfile::RuntimeDefault);
  for (const auto* path : kMasked) security.add_masked_paths(path);
  for (const auto* path : kReadOnly) security.add_readonly_paths(path);
}

class GrpcControl final : public Control {
 public:
  GrpcControl(const std::shared_ptr<grpc::Channel>& channel, std::string containerdNamespace)
      : runtime_(v1::RuntimeService::NewStub(channel)),
        content_(blobs::Content::NewStub(channel)),
        images_(stored::Images::NewStub(channel)),
        leases_(leased::Leases::NewStub(channel)),
        events_(happenings::Events::NewStub(channel)),
        namespace_(std::move(containerdNamespace)) {}

  Awaitable<Result<std::string>> createContainer(SandboxStatus sandbox, ContainerOrder order) override {
    v1::CreateContainerRequest request;
    request.set_pod_sandbox_id(sandbox.sandbox.id);
    describe(sandbox, *request.mutable_sandbox_config());
    describe(sandbox, order, *request.mutable_config());
    const auto call = co_await unary<v1::CreateContainerResponse>(
        request, kStarting, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->CreateContainer(context, query, response, std::move(done));
        });
    if (!call.status.ok()) {
      co_return failCall(Stage::containerd, "CreateContainer of " + order.name, call.status);
    }
    co_return call.response.container_id();
  }

  Awaitable<Result<>> startContainer(std::string id) override {
    v1::StartContainerRequest request;
    request.set_container_id(id);
    const auto call = co_await unary<v1::StartContainerResponse>(
        request, kStarting, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->StartContainer(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "StartContainer of " + id, call.status);
    co_return Result<>{};
  }

  Awaitable<Result<pid_t>> containerPid(std::string id) override {
    v1::ContainerStatusRequest request;
    request.set_container_id(id);
    request.set_verbose(true);
    const CallOptions options{kControlDeadline, {}};
    const auto call = co_await unary<v1::ContainerStatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->ContainerStatus(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ContainerStatus of " + id, call.status);
    if (call.response.status().state() != v1::CONTAINER_RUNNING) co_return 0;
    const auto info = call.response.info().find("info");
    if (info == call.response.info().end()) {
      co_return fail(Stage::containerd, Reason::protocol,
                     "ContainerStatus of " + id + " has no verbose info");
    }
    co_return containerPidOf(info->second);
  }

  Awaitable<Result<>> stopContainer(std::string id, std::chrono::seconds grace) override {
    v1::StopContainerRequest request;
    request.set_container_id(id);
    request.set_timeout(grace.count());
    const CallOptions options{grace + kStopMargin, {}};
    const auto call = co_await unary<v1::StopContainerResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->StopContainer(context, query, response, std::move(done));
        });
    co_return doneOrGone("StopContainer of " + id, call.status);
  }

  Awaitable<Result<>> removeContainer(std::string id) override {
    v1::RemoveContainerRequest request;
    request.set_container_id(id);
    const CallOptions options{kControlDeadline, {}};
    const auto call = co_await unary<v1::RemoveContainerResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->RemoveContainer(context, query, response, std::move(done));
        });
    co_return doneOrGone("RemoveContainer of " + id, call.status);
  }

  Awaitable<Result<>> tellOutOfMemory(std::string id) override {
    happenings::PublishRequest request;
    request.set_topic("/tasks/oom");
    ::containerd::events::TaskOOM body;
    body.set_container_id(id);
    request.mutable_event()->set_type_url("containerd.events.TaskOOM");
    request.mutable_event()->set_value(body.SerializeAsString());
    const CallOptions options{kControlDeadline, namespace_};
    const auto call = co_await unary<google::protobuf::Empty>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          events_->async()->Publish(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Events.Publish", call.status);
    co_return Result<>{};
  }

  Awaitable<Result<>> createImage(std::string name, std::vector<Blob> parts, Labels labels) override {
    const auto stamp = Clock::system().now().time_since_epoch().count();
    const std::string lease = "fallbackd-" + parts.back().digest + "-" + std::to_string(stamp);
    auto begun = co_await createLease(lease);
    if (!begun) co_return begun;
    auto written = co_await writeImage(name, parts, std::move(labels), lease);
    // If this fails, the lease expires.
    co_await deleteLease(lease);
    co_return written;
  }

  Awaitable<Result<>> deleteImage(std::string name, Cleanup cleanup) override {
    stored::DeleteImageRequest request;
    request.set_name(name);
    request.set_sync(cleanup == Cleanup::now);
    const CallOptions options{cleanup == Cleanup::now ? kCleanupDeadline : kControlDeadline, namespace_};
    const auto call = co_await unary<google::protobuf::Empty>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->Delete(context, query, response, std::move(done));
        });
    co_return doneOrGone("Images.Delete of " + name, call.status);
  }

  Awaitable<Result<std::string>> imageDigest(std::string name) override {
    stored::GetImageRequest request;
    request.set_name(name);
    const CallOptions options{kControlDeadline, namespace_};
    const auto call = co_await unary<stored::GetImageResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->Get(context, query, response, std::move(done));
        });
    if (call.status.error_code() == grpc::StatusCode::NOT_FOUND) co_return std::string();
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Images.Get of " + name, call.status);
    co_return call.response.image().target().digest();
  }

  Awaitable<Result<std::vector<std::string>>> imagesWithLabel(std::string key) override {
    stored::ListImagesRequest request;
    request.add_filters("labels.\"" + key + "\"");
    const CallOptions options{kControlDeadline, namespace_};
    const auto call = co_await unary<stored::ListImagesResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->List(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Images.List", call.status);
    std::vector<std::string> names;
    for (const auto& image : call.response.images()) names.push_back(image.name());
    co_return names;
  }

 private:
  static Result<> doneOrGone(const std::string& what, const grpc::Status& status) {
    if (status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND) return {};
    return failCall(Stage::containerd, what, status);
  }

  static Result<> doneOrThere(const std::string& what, const grpc::Status& status) {
    if (status.ok() || status.error_code() == grpc::StatusCode::ALREADY_EXISTS) return {};
    return failCall(Stage::containerd, what, status);
  }

  Awaitable<Result<>> createLease(std::string id) {
    leased::CreateRequest request;
    request.set_id(id);
    (*request.mutable_labels())["containerd.io/gc.expire"] = rfc3339(Clock::system().wall() + kLeaseTime);
    const CallOptions options{kControlDeadline, namespace_};
    const auto call = co_await unary<leased::CreateResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          leases_->async()->Create(context, query, response, std::move(done));
        });
    co_return doneOrThere("Leases.Create", call.status);
  }

  Awaitable<void> deleteLease(std::string id) {
    leased::DeleteRequest request;
    request.set_id(std::move(id));
    const CallOptions options{kControlDeadline, namespace_};
    const auto call = co_await unary<google::protobuf::Empty>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          leases_->async()->Delete(context, query, response, std::move(done));
        });
    static_cast<void>(call);
  }

  Awaitable<Result<>> writeImage(const std::string& name, const std::vector<Blob>& parts, Labels labels,
                                 const std::string& lease) {
    for (const auto& blob : parts) {
      auto written = co_await writeBlob(blob, lease);
      if (!written) co_return written;
    }
    const auto& manifest = parts.back();
    stored::CreateImageRequest request;
    auto& image = *request.mutable_image();
    image.set_name(name);
    put(labels, *image.mutable_labels());
    image.mutable_target()->set_media_type(manifest.mediaType);
    image.mutable_target()->set_digest(manifest.digest);
    image.mutable_target()->set_size(static_cast<std::int64_t>(manifest.size()));
    const CallOptions options{kControlDeadline, namespace_, lease};
    const auto call = co_await unary<stored::CreateImageResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->Create(context, query, response, std::move(done));
        });
    co_return doneOrThere("Images.Create of " + name, call.status);
  }

  /// One call for each piece: containerd appends it to what it has under that reference.
  Awaitable<Result<>> writeBlob(const Blob& blob, const std::string& lease) {
    std::uint64_t offset = 0;
    for (;;) {
      auto piece = pieceOf(blob, offset, kPiece);
      if (!piece) co_return tl::unexpected<Error>(piece.error());
      const auto end = offset + piece->size();
      const auto action = end == blob.size() ? blobs::COMMIT : blobs::WRITE;
      auto written = co_await writePiece(blob, lease, action, offset, std::move(*piece));
      if (!written) {
        // It was stored for another stand-in.
        if (written.error().reason == Reason::already_exists) co_return Result<>{};
        co_return written;
      }
      if (action == blobs::COMMIT) co_return Result<>{};
      offset = end;
    }
  }

  Awaitable<Result<>> writePiece(const Blob& blob, const std::string& lease, blobs::WriteAction action,
                                 std::uint64_t offset, std::string piece) {
    blobs::WriteContentRequest request;
    request.set_action(action);
    request.set_ref(lease + "/" + blob.digest);
    request.set_total(static_cast<std::int64_t>(blob.size()));
    request.set_expected(blob.digest);
    request.set_offset(static_cast<std::int64_t>(offset));
    request.set_data(std::move(piece));
    put(blob.labels, *request.mutable_labels());
    const CallOptions options{kControlDeadline, namespace_, lease};
    const auto call = co_await exchange<blobs::WriteContentResponse>(
        request, options,
        [this](auto* context, auto* reactor) { content_->async()->Write(context, reactor); });
    if (call.status.ok()) co_return Result<>{};
    co_return failCall(Stage::containerd, "Content.Write of " + blob.digest, call.status);
  }

  std::unique_ptr<v1::RuntimeService::StubInterface> runtime_;
  std::unique_ptr<blobs::Content::StubInterface> content_;
  std::unique_ptr<stored::Images::StubInterface> images_;
  std::unique_ptr<leased::Leases::StubInterface> leases_;
  std::unique_ptr<happenings::Events::Stub> events_;
  std::string namespace_;
};

}  // namespace

std::unique_ptr<Control> makeControl(const std::shared_ptr<grpc::Channel>& channel,
                                     std::string containerdNamespace) {
  return std::make_unique<GrpcControl>(channel, std::move(containerdNamespace));
}

}  // namespace fallbackd::cri
