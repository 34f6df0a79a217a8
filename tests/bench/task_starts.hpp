// SPDX-License-Identifier: Apache-2.0
// When tasks started, by containerd's own time stamps.
#pragma once

#include "base/clock.hpp"
#include "event_types.pb.h"
#include "events.grpc.pb.h"

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

namespace fallbackd::bench {

/// Listens from its construction on, on its own thread.
class TaskStarts {
 public:
  explicit TaskStarts(const std::string& socket)
      : stub_(::containerd::services::events::v1::Events::NewStub(
            grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))) {
    context_.AddMetadata("containerd-namespace", "k8s.io");
    ::containerd::services::events::v1::SubscribeRequest request;
    request.add_filters("topic==\"/tasks/start\"");
    reader_ = stub_->Subscribe(&context_, request);
    thread_ = std::thread([this] { read(); });
  }
  TaskStarts(const TaskStarts&) = delete;
  TaskStarts& operator=(const TaskStarts&) = delete;
  ~TaskStarts() {
    context_.TryCancel();
    thread_.join();
  }
  /// Waits for the start of this container.
  std::optional<Wall::time_point> of(const std::string& id) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_for(lock, std::chrono::seconds(30), [&] { return starts_.contains(id); }))
      return std::nullopt;
    return starts_.at(id);
  }

 private:
  void read() {
    ::containerd::services::events::v1::Envelope envelope;
    while (reader_->Read(&envelope)) {
      ::containerd::events::TaskStart start;
      if (!start.ParseFromString(envelope.event().value())) continue;
      const auto& at = envelope.timestamp();
      const std::lock_guard lock(mutex_);
      starts_[start.container_id()] = Wall::time_point(std::chrono::duration_cast<Wall::duration>(
          std::chrono::seconds(at.seconds()) + std::chrono::nanoseconds(at.nanos())));
      arrived_.notify_all();
    }
  }
  std::unique_ptr<::containerd::services::events::v1::Events::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<::containerd::services::events::v1::Envelope>> reader_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::string, Wall::time_point> starts_;
  std::thread thread_;
};

}  // namespace fallbackd::bench
