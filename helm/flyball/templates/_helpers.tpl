{{- define "flyball.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "flyball.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "flyball.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "flyball.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "flyball.selectorLabels" -}}
app.kubernetes.io/name: {{ include "flyball.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flyball.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "flyball.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "flyball.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "flyball.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "flyball.policiesConfigMap" -}}
{{- default (printf "%s-policies" (include "flyball.fullname" .)) .Values.existingPoliciesConfigMap -}}
{{- end -}}

{{/* flyball.yaml, with what the chart itself decides. */}}
{{- define "flyball.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "policies" "/etc/flyball/policies" -}}
{{- if .Values.persistence.enabled -}}
{{- $_ := set $config "state" (dict "path" "/var/lib/flyball") -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
