// SPDX-License-Identifier: Apache-2.0
// ImageStore over containerd's own services.
#pragma once

#include "cri/image_store.hpp"

#include <memory>
#include <string>

#include <grpcpp/channel.h>

namespace fallbackd::cri {

std::unique_ptr<ImageStore> makeImageStore(const std::shared_ptr<grpc::Channel>& channel,
                                           std::string containerdNamespace);

}  // namespace fallbackd::cri
