// SPDX-License-Identifier: Apache-2.0
// A containerd's CRI, for tests that call it directly; all others use a Kubelet.
#pragma once

#include "base/error.hpp"
#include "runtime.grpc.pb.h"

#include <chrono>
#include <memory>
#include <string>

#include <grpcpp/channel.h>

namespace fallbackd::e2e {

struct CriStubs {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<runtime::v1::RuntimeService::Stub> runtime;
  std::unique_ptr<runtime::v1::ImageService::Stub> images;
};

/// A deadline for one CRI call.
void setDeadline(grpc::ClientContext& context, std::chrono::milliseconds timeout);

/// "NotFound: rpc error ..." and similar, as an Error of stage containerd.
Error toError(const std::string& what, const grpc::Status& status);

}  // namespace fallbackd::e2e
